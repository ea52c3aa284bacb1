//! `session ...`: each verb one request, or one stream.

mod attempts;
mod checkpoints;
mod demands;
mod describe;
mod diff;
mod follow;
mod get;
mod list;
mod logs;
mod steer;
pub mod submit;
mod watch;
mod why;

use crate::cli::SessionCommand;
use crate::config::Loader;
use crate::exit::Exit;

pub async fn run(command: SessionCommand, loader: &Loader) -> anyhow::Result<Exit> {
    match command {
        SessionCommand::Run(args) => submit::run(args, loader).await,
        SessionCommand::List(args) => list::run(args, loader).await,
        SessionCommand::Get(args) => get::run(args, loader).await,
        SessionCommand::Watch(args) => watch::run(args, loader).await,
        SessionCommand::Logs(args) => logs::run(args, loader).await,
        SessionCommand::Diff(args) => diff::run(args, loader).await,
        SessionCommand::Why(args) => why::run(args, loader).await,
        SessionCommand::Stop(args) => steer::run("stop", args, loader).await,
        SessionCommand::Cancel(args) => steer::run("cancel", args, loader).await,
        SessionCommand::Pause(args) => steer::run("pause", args, loader).await,
        SessionCommand::Resume(args) => steer::run("resume", args, loader).await,
        SessionCommand::Attempts(args) => attempts::run(args, loader).await,
        SessionCommand::Checkpoints(args) => checkpoints::list(args, loader).await,
        SessionCommand::Restore(args) => checkpoints::restore(args, loader).await,
        SessionCommand::Retry(args) => steer::run("retry", args, loader).await,
    }
}
