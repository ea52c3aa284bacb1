//! What a quota costs that binds: the same backlog is worked off under quotas that just keep the workers busy, and under
//! quotas far away.

use crate::cli::Cli;
use crate::installation::Installation;
use crate::load::{Sent, fire, singles};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::stats::per_second;
use crate::store::Store;
use crate::usage::Meter;

use super::{QUOTA_FAR, all_ended, callers, submit_backlog, tenants, times};

/// Jobs that warm a fresh installation up, so that the first phase is not the slow one.
const WARM_UP: u64 = 500;

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    let concurrency = u64::from(cli.concurrency()) * u64::from(cli.workers);
    let binding = u32::try_from(concurrency / cli.tenants())?.max(1);
    let warm = tenants(installation, "warm", 1, QUOTA_FAR).await?;
    let shots = singles(&callers(&warm), WARM_UP);
    installation.start_workers().await?;
    let warmed = fire(
        installation.port,
        16,
        shots,
        &Progress::new("warming up", WARM_UP),
    )
    .await?;
    let store = installation.store().await?;
    all_ended(&store, warmed.jobs).await?;
    store.close().await;

    let mut jobs = warmed.jobs;
    let far = phase(cli, installation, "far", QUOTA_FAR, &mut jobs).await?;
    let bound = phase(cli, installation, "bound", binding, &mut jobs).await?;
    let mut outcome = bound;
    outcome.figure("tenants", cli.tenants());
    outcome.figure("quota of each, binding", binding);
    outcome.figure("jobs/s, quotas far away", far.rate);
    if let (Some(bound), Some(far)) = (outcome.rate, far.rate) {
        outcome.figure("binding / far away", bound / far);
    }
    outcome.faults.extend(far.faults);
    Ok(outcome)
}

/// `before` counts the jobs of the installation so far.
async fn phase(
    cli: &Cli,
    installation: &mut Installation,
    name: &str,
    quota: u32,
    before: &mut u64,
) -> anyhow::Result<Outcome> {
    installation.without_workers().await?;
    let tenants = tenants(installation, name, cli.tenants(), quota).await?;
    let Sent { jobs, .. } = submit_backlog(cli, installation, &tenants, cli.jobs()).await?;
    *before += jobs;
    let meter = Meter::start(&installation.watched());
    installation.start_workers().await?;
    let store = installation.store().await?;
    all_ended(&store, jobs).await?;
    let usage = meter.stop(&installation.watched(), jobs);
    let outcome = measured(&store, &tenants, jobs, *before, usage).await;
    store.close().await;
    outcome
}

async fn measured(
    store: &Store,
    tenants: &[crate::tenants::Tenant],
    jobs: u64,
    all: u64,
    usage: crate::usage::Usage,
) -> anyhow::Result<Outcome> {
    let times = times(store, tenants).await?;
    let first = times.iter().filter_map(|it| it.started).min();
    let last = times.iter().filter_map(|it| it.finished).max();
    let span = last
        .unwrap_or_default()
        .saturating_sub(first.unwrap_or_default());
    Ok(Outcome {
        jobs,
        rate: Some(per_second(jobs, span)),
        rate_of: "first claim to last end, quotas binding",
        usage,
        faults: store.tally().await?.faults(all),
        ..Outcome::default()
    })
}
