//! `worker`

use std::sync::Arc;

use domain::AgentKind;
use serde::Serialize;
use telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use crate::cli::WorkerArgs;
use crate::commands::serving::{self, Listening, serve_metrics};
use crate::compose::data_dir::DataDir;
use crate::compose::services::Services;
use crate::compose::{tools, worker_config};
use crate::config::{Flags, Loader};
use crate::exit::Exit;
use crate::signals;

/// Beside a producer's on the same machine.
pub const METRICS_PORT: u16 = 9101;
/// The agents where nothing else was asked for: running what tenants send is the operator's decision.
pub const AGENTS: &[AgentKind] = &[AgentKind::Echo];

#[derive(Serialize)]
struct HostFlag<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
}

pub async fn run(args: WorkerArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let host = args.host.as_deref();
    let flags = Flags::default()
        .with(&args.worker)?
        .with(&args.metrics)?
        .with(&HostFlag { host })?
        .with(&args.data)?
        .with(&args.log)?;
    let mut settings = loader.load(flags)?.settings;
    settings.agents.get_or_insert_with(|| AGENTS.to_vec());
    serving::log(&settings)?;
    let shutdown = signals::shutdown()?;
    let services = Services::connect(&settings, "worker").await?;
    let dir = DataDir::open(&settings.data_dir)?;
    let tools = tools::build(&settings, &services.ports, &dir.work()).await?;
    let metrics_listening = Listening::for_metrics(&settings, METRICS_PORT).await?;

    let metrics = Metrics::new();
    let ended = CancellationToken::new();
    let serving_metrics = serve_metrics(metrics_listening, Arc::clone(&metrics), ended.clone());
    let config = worker_config(&settings);
    workers::run(services.ports.clone(), tools, metrics, config, shutdown).await?;
    ended.cancel();
    serving_metrics.await?;
    services.close();
    Ok(Exit::Ok)
}
