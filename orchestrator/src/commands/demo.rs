//! `demo`

use crate::cli::DemoArgs;
use crate::demo;
use crate::exit::Exit;

pub async fn run(args: DemoArgs) -> anyhow::Result<Exit> {
    telemetry::init_tracing(&args.log, telemetry::LogFormat::Text)?;
    demo::run(&args).await
}
