//! A backlog that was there before any worker is worked off. The relay to the broker is part of it: without workers
//! nobody moves messages.

use crate::cli::Cli;
use crate::installation::Installation;
use crate::load::Sent;
use crate::outcome::Outcome;
use crate::stats::{Latency, millis, per_second};
use crate::tenants::Tenant;
use crate::usage::Meter;

use super::{QUOTA_FAR, all_ended, runs, submit_backlog, tenants, times};

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    let tenants = tenants(installation, "drain", cli.tenants(), QUOTA_FAR).await?;
    let sent = submit_backlog(cli, installation, &tenants, cli.jobs()).await?;
    let mut outcome = work_off(installation, &tenants, &sent).await?;
    let submitted = per_second(sent.jobs, sent.elapsed_micros());
    outcome.figure("submitted, jobs/s by bulk requests", submitted);
    Ok(outcome)
}

/// Starts the workers and measures until the last of the submitted jobs has ended. No job may have run before.
pub async fn work_off(
    installation: &mut Installation,
    tenants: &[Tenant],
    sent: &Sent,
) -> anyhow::Result<Outcome> {
    let meter = Meter::start(&installation.watched());
    let begun = installation.start_workers().await?;
    let store = installation.store().await?;
    all_ended(&store, sent.jobs).await?;
    let usage = meter.stop(&installation.watched(), sent.jobs);
    let (first, last) = store.span().await?;
    let tally = store.tally().await?;
    let times = times(&store, tenants).await?;
    store.close().await;
    let mut outcome = Outcome {
        jobs: sent.jobs,
        rate: Some(per_second(sent.jobs, last.saturating_sub(first))),
        rate_of: "first claim to last end",
        latency: Latency::of_micros(runs(&times)),
        latency_of: "claim to end of a job",
        usage,
        faults: tally.faults(sent.jobs),
        ..Outcome::default()
    };
    outcome.figure(
        "start of workers to first claim, ms",
        millis(first.saturating_sub(begun)),
    );
    let whole = per_second(sent.jobs, last.saturating_sub(begun));
    outcome.figure("jobs/s from the start of workers", whole);
    Ok(outcome)
}
