//! What the machine and its servers do by themselves: the limits that any design on top of them has. Measured in this
//! process, on the servers of the product, with the durability that the product asks for; the settings are shown.

mod disk;
mod postgres;
mod rabbitmq;
mod redis;
mod sqlite;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::cli::{Backend, Cli, Scenario};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::services::Urls;
use crate::stats::per_second;

/// Of each part.
const TIME: Duration = Duration::from_secs(4);
/// Rates measured when everything is.
const PARTS: u64 = 9;
/// A small row: about what a queued job carries.
const PAYLOAD_BYTES: usize = 300;

/// The servers' parts that a scenario leans on; the disk's and, in embedded mode, SQLite's belong to all.
fn servers(cli: &Cli) -> &'static [Server] {
    match (cli.backend, cli.scenario) {
        (Backend::Embedded, _) => &[],
        (_, Scenario::Submit | Scenario::Bulk | Scenario::Inflight) => &[Server::Postgres],
        _ => &[Server::Postgres, Server::Rabbitmq, Server::Redis],
    }
}

#[derive(Debug, Clone, Copy)]
enum Server {
    Postgres,
    Rabbitmq,
    Redis,
}

/// All of it for the scenario `floor`, otherwise what fits the scenario.
pub async fn measure(cli: &Cli) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    // Beside the program, where the installations' data lie as well.
    let program = std::env::current_exe()?;
    let place = program.parent().context("the program lies in a folder")?;
    let folder = TempDir::with_prefix_in("bench-floor-", place)?;
    let progress = Progress::new("floor", PARTS);
    disk::measure(folder.path(), &mut outcome, &progress)?;
    if cli.backend == Backend::Embedded || cli.scenario == Scenario::Floor {
        sqlite::measure(folder.path(), &mut outcome, &progress).await?;
    }
    for server in servers(cli) {
        let urls = Urls::from_environment()?;
        match server {
            Server::Postgres => {
                postgres::measure(&urls.postgres, &mut outcome, &progress).await?;
            }
            Server::Rabbitmq => {
                rabbitmq::measure(&urls.amqp, &mut outcome, &progress).await?;
                if matches!(cli.scenario, Scenario::Floor | Scenario::Wide) {
                    rabbitmq::declares(&urls.amqp, &mut outcome, &progress).await?;
                }
            }
            Server::Redis => redis::measure(&urls.redis, &mut outcome, &progress).await?,
        }
    }
    Ok(outcome)
}

/// How often something was done a second, from its count and its start.
fn rate(count: u64, began: Instant) -> f64 {
    per_second(count, crate::load::micros(began.elapsed()))
}
