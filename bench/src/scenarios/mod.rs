//! One file a scenario, and what they share.

mod bulk;
mod drain;
mod e2e;
mod fairness;
mod idle;
mod inflight;
mod limits;
mod steady;
mod submit;
mod wide;

use std::time::Duration;

use crate::cli::{Cli, Scenario};
use crate::http::Caller;
use crate::installation::Installation;
use crate::load::{Sent, bulks, fire};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::store::{Store, Times};
use crate::tenants::Tenant;

/// Between two looks at how much is left: rare enough to cost nothing, and no part of what is measured, since the end
/// itself is a stored instant.
const LOOK: Duration = Duration::from_millis(250);
/// Without any change for so long, the product is stuck.
const STUCK: Duration = Duration::from_secs(90);
/// Far above any worker's concurrency, and not so far that no relay window is left.
const QUOTA_FAR: u32 = 1_000;

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    match cli.scenario {
        Scenario::Submit => submit::run(cli, installation).await,
        Scenario::Bulk => bulk::run(cli, installation).await,
        Scenario::Drain => drain::run(cli, installation).await,
        Scenario::E2e => e2e::run(cli, installation).await,
        Scenario::Idle => idle::run(cli, installation).await,
        Scenario::Fairness => fairness::run(cli, installation).await,
        Scenario::Wide => wide::run(cli, installation).await,
        Scenario::Inflight => inflight::run(cli, installation).await,
        Scenario::Limits => limits::run(cli, installation).await,
        Scenario::Steady => steady::run(cli, installation).await,
        Scenario::Floor => anyhow::bail!("the floor needs no installation"),
    }
}

/// `--tenants` tenants with keys of their own.
async fn tenants(
    installation: &Installation,
    prefix: &str,
    count: u64,
    quota: u32,
) -> anyhow::Result<Vec<Tenant>> {
    let mut tenants = Vec::new();
    for number in 1..=count {
        let slug = format!("{prefix}-{number}");
        tenants.push(installation.tenant(&slug, quota).await?);
    }
    Ok(tenants)
}

fn callers(tenants: &[Tenant]) -> Vec<Caller> {
    tenants.iter().map(|tenant| tenant.caller.clone()).collect()
}

/// Spreads `jobs` evenly over the tenants, in bulk requests.
async fn submit_backlog(
    cli: &Cli,
    installation: &Installation,
    tenants: &[Tenant],
    jobs: u64,
) -> anyhow::Result<Sent> {
    let each = jobs.div_ceil(tenants.len() as u64);
    let shots = bulks(&callers(tenants), each, 0);
    let progress = Progress::new("submitting", each * tenants.len() as u64);
    fire(installation.port, cli.connections(), shots, &progress).await
}

/// Waits until nothing waits or runs.
async fn all_ended(store: &Store, jobs: u64) -> anyhow::Result<()> {
    let progress = Progress::new("working off", jobs);
    open_is(store, |open| {
        progress.set(jobs.saturating_sub(open));
        open == 0
    })
    .await
}

/// Waits until the number of jobs that wait or run is as wanted.
async fn open_is(store: &Store, wanted: impl Fn(u64) -> bool) -> anyhow::Result<()> {
    let (mut last, mut unchanged) = (None, Duration::ZERO);
    loop {
        let (queued, running) = store.open().await?;
        if wanted(queued + running) {
            return Ok(());
        }
        if last == Some((queued, running)) {
            unchanged += LOOK;
        } else {
            unchanged = Duration::ZERO;
        }
        if unchanged > STUCK {
            anyhow::bail!("nothing moves any more: {queued} jobs wait and {running} run");
        }
        last = Some((queued, running));
        tokio::time::sleep(LOOK).await;
    }
}

/// From the submission to the claim.
fn waits(times: &[Times]) -> Vec<u64> {
    let started = times
        .iter()
        .filter_map(|it| Some((it.created, it.started?)));
    started
        .map(|(created, started)| started.saturating_sub(created))
        .collect()
}

/// From the submission to the end.
fn lives(times: &[Times]) -> Vec<u64> {
    let finished = times
        .iter()
        .filter_map(|it| Some((it.created, it.finished?)));
    finished
        .map(|(created, finished)| finished.saturating_sub(created))
        .collect()
}

/// From the claim to the end.
fn runs(times: &[Times]) -> Vec<u64> {
    let both = times.iter().filter_map(|it| it.started.zip(it.finished));
    both.map(|(started, finished)| finished.saturating_sub(started))
        .collect()
}

/// The stored instants of all jobs of these tenants.
async fn times(store: &Store, tenants: &[Tenant]) -> anyhow::Result<Vec<Times>> {
    let mut all = Vec::new();
    for tenant in tenants {
        all.extend(store.times(tenant.id).await?);
    }
    Ok(all)
}
