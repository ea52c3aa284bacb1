//! Many sessions held at once by one worker. They wait and do nothing else, so what is measured is what holding costs.

use std::time::{Duration, Instant};

use crate::cli::Cli;
use crate::installation::Installation;
use crate::load::{bulks, fire};
use crate::outcome::Outcome;
use crate::proc;
use crate::progress::Progress;
use crate::stats::{millis, ratio};
use crate::store::Store;
use crate::usage::{Meter, cpu_of_tree};

use super::{LOOK, callers, tenants};

const RENEWALS: &str = "orchestrator_lease_renew_seconds_count";
/// All sessions should run after this long, and a second more for each [`CLAIMS_A_SECOND`] of them. They are held for
/// that time on top of the measured one.
const CLAIM_SECONDS: u64 = 20;
/// A fraction of what the slowest machine that this ran on claims.
const CLAIMS_A_SECOND: u64 = 200;
/// The product refuses a longer delay.
const DELAY_MAX: u64 = 3600;
/// A worker is idle by then.
const SETTLE: Duration = Duration::from_secs(3);

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    installation.start_workers().await?;
    installation.workers_are_up().await?;
    let jobs = cli.jobs();
    let quota = u32::try_from(jobs)?.min(100_000);
    let tenants = tenants(installation, "inflight", 1, quota).await?;
    let store = installation.store().await?;
    let worker = installation.worker_pid()?;
    tokio::time::sleep(SETTLE).await;
    let rss = |what: &str| proc::status_kib(worker, what).unwrap_or_default();
    let idle_kib = rss("VmRSS");

    let claim_seconds = CLAIM_SECONDS + jobs / CLAIMS_A_SECOND;
    let delay = cli.seconds + claim_seconds;
    anyhow::ensure!(
        delay <= DELAY_MAX,
        "a session may wait for {DELAY_MAX} s at most"
    );
    let shots = bulks(&callers(&tenants), jobs, delay);
    let began = Instant::now();
    let progress = Progress::new("submitting", jobs);
    let sent = fire(installation.port, cli.connections(), shots, &progress).await?;
    drop(progress);
    all_run(&store, jobs, claim_seconds).await?;
    let claimed = began.elapsed();
    tokio::time::sleep(SETTLE).await;

    let (held_kib, renewals) = (rss("VmRSS"), installation.worker_metric(RENEWALS).await?);
    let (cpu, held) = (cpu_of_tree(worker), Instant::now());
    let meter = Meter::start(&installation.watched());
    let progress = Progress::new("holding, s", cli.seconds);
    while held.elapsed().as_secs() < cli.seconds {
        tokio::time::sleep(LOOK).await;
        progress.set(held.elapsed().as_secs());
    }
    drop(progress);
    let minutes = held.elapsed().as_secs_f64() / 60.0;
    let usage = meter.stop(&installation.watched(), jobs);
    let cpu = millis(cpu_of_tree(worker).saturating_sub(cpu)) / 1e3 / minutes;
    let renewed = installation.worker_metric(RENEWALS).await? - renewals;
    let (_, running) = store.open().await?;

    super::all_ended(&store, jobs).await?;
    let tally = store.tally().await?;
    store.close().await;
    let mut outcome = Outcome {
        jobs,
        usage,
        faults: tally.faults(sent.jobs),
        ..Outcome::default()
    };
    if running != jobs {
        outcome
            .faults
            .push(format!("only {running} of {jobs} were held to the end"));
    }
    outcome.figure("seconds until all were held", claimed.as_secs_f64());
    outcome.figure("worker's RSS idle, MiB", ratio(idle_kib, 1024));
    outcome.figure("worker's RSS holding, MiB", ratio(held_kib, 1024));
    outcome.figure(
        "KiB a held session",
        ratio(held_kib.saturating_sub(idle_kib), jobs),
    );
    outcome.figure("worker's CPU s a minute of holding", cpu);
    outcome.figure("lease renewals a minute, all sessions", renewed / minutes);
    Ok(outcome)
}

async fn all_run(store: &Store, jobs: u64, limit: u64) -> anyhow::Result<()> {
    let progress = Progress::new("claiming", jobs);
    let began = Instant::now();
    loop {
        let (queued, running) = store.open().await?;
        progress.set(running);
        if running >= jobs {
            return Ok(());
        }
        anyhow::ensure!(
            began.elapsed().as_secs() < limit,
            "after {limit} s {running} run and {queued} wait"
        );
        tokio::time::sleep(LOOK).await;
    }
}
