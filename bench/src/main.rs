//! The benchmark of the product, from outside. It measures and never steers: nothing of the product is linked in, and
//! no setting is used that an operator could not use.

mod cli;
mod floor;
mod http;
mod installation;
mod load;
mod outcome;
mod proc;
mod process;
mod progress;
mod report;
mod scenarios;
mod services;
mod stats;
mod store;
mod tenants;
mod usage;

use std::process::ExitCode;

use anyhow::bail;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Scenario};
use crate::installation::Installation;
use crate::outcome::Outcome;
use crate::report::{Report, note, print};

/// Jobs were lost, failed or run twice.
const FAULTY: u8 = 1;
/// The benchmark could not be done.
const NOT_DONE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAULTY),
        Err(error) => {
            note(&format!("bench: {error:#}"));
            ExitCode::from(NOT_DONE)
        }
    }
}

/// False when the product made a mistake.
async fn run(cli: &Cli) -> anyhow::Result<bool> {
    let load_at_start = proc::load_average();
    let mut rounds = Vec::new();
    for _ in 0..cli.rounds {
        rounds.push(round(cli).await?);
    }
    let floor = if cli.with_floor && cli.scenario != Scenario::Floor {
        Some(interruptible(floor::measure(cli)).await?)
    } else {
        None
    };
    let report = Report {
        cli,
        load_at_start,
        rounds,
        floor,
    };
    if !cli.json {
        print(&report.tables());
        print("");
    }
    print(&report.json().to_string());
    Ok(report.faults().is_empty())
}

async fn round(cli: &Cli) -> anyhow::Result<Outcome> {
    if cli.scenario == Scenario::Floor {
        return interruptible(floor::measure(cli)).await;
    }
    let mut installation = Installation::start(cli).await?;
    let outcome = interruptible(scenarios::run(cli, &mut installation)).await;
    installation.close().await;
    outcome
}

/// Ends early at Ctrl-C or SIGTERM, so that what was made is removed.
async fn interruptible<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    }
}
