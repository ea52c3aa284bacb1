//! `session logs`

use super::follow;
use crate::cli::LogsArgs;
use crate::commands::connect;
use crate::config::Loader;
use crate::exit::Exit;
use crate::output;

pub async fn run(args: LogsArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let client = connect::client(&args.connection, loader)?;
    if args.follow {
        follow::log(&client, args.id).await?;
        return Ok(Exit::Ok);
    }
    let mut log = client.log(args.id, false);
    let mut shown = output::Foreign::default();
    while let Some(piece) = log.next().await? {
        shown.write(&piece)?;
    }
    shown.finish()?;
    Ok(Exit::Ok)
}
