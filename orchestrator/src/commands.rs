//! What each command does, one file a command.

mod agent;
mod agent_check;
mod connect;
mod dead_letter;
mod demo;
mod dev;
mod doctor;
mod key;
mod migrate;
mod openapi;
mod producer;
mod queue;
mod schedule;
pub mod serving;
mod session;
mod tenant;
mod worker;
mod workers;

use crate::cli::{Cli, Command};
use crate::config::Loader;
use crate::exit::Exit;

/// Does what the command line asks.
pub async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let loader = &Loader::new(cli.config);
    match cli.command {
        Command::Dev(args) => dev::run(args, loader).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Producer(args) => producer::run(args, loader).await,
        Command::Worker(args) => worker::run(args, loader).await,
        Command::Migrate(args) => migrate::run(args, loader).await,
        Command::Doctor(args) => doctor::run(args, loader).await,
        Command::Openapi => openapi::run(),
        Command::Session(command) => session::run(command, loader).await,
        Command::DeadLetter(command) => dead_letter::run(command, loader).await,
        Command::Queue(command) => queue::run(command, loader).await,
        Command::Agent(command) => agent::run(command, loader).await,
        Command::Schedule(command) => schedule::run(command, loader).await,
        Command::Tenant(command) => tenant::run(command, loader).await,
        Command::Key(command) => key::run(command, loader).await,
        Command::Workers(args) => workers::run(args, loader).await,
    }
}
