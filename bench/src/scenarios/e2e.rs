//! Submissions while workers work: the whole way at once.

use crate::cli::Cli;
use crate::installation::Installation;
use crate::load::{fire, singles};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::stats::{Latency, per_second};
use crate::usage::Meter;

use super::{QUOTA_FAR, all_ended, callers, lives, tenants, times, waits};

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    installation.start_workers().await?;
    installation.workers_are_up().await?;
    let tenants = tenants(installation, "e2e", cli.tenants(), QUOTA_FAR).await?;
    let jobs = cli.jobs();
    let shots = singles(&callers(&tenants), jobs);
    let store = installation.store().await?;
    let meter = Meter::start(&installation.watched());
    let sent = fire(
        installation.port,
        cli.connections(),
        shots,
        &Progress::new("submitting", jobs),
    )
    .await?;
    all_ended(&store, jobs).await?;
    let usage = meter.stop(&installation.watched(), jobs);
    let times = times(&store, &tenants).await?;
    let tally = store.tally().await?;
    store.close().await;
    let first = times.iter().map(|it| it.created).min().unwrap_or_default();
    let last = times.iter().filter_map(|it| it.finished).max();
    let span = last.unwrap_or_default().saturating_sub(first);
    let mut outcome = Outcome {
        jobs,
        rate: Some(per_second(jobs, span)),
        rate_of: "first submit to last end",
        latency: Latency::of_micros(lives(&times)),
        latency_of: "submit to end of a job",
        usage,
        faults: tally.faults(sent.jobs),
        ..Outcome::default()
    };
    let submitted = per_second(sent.jobs, sent.elapsed_micros());
    outcome.figure("submitted, jobs/s", submitted);
    outcome.latency_figure("submit to claim", Latency::of_micros(waits(&times)));
    outcome.latency_figure("of a request", Latency::of_micros(sent.latencies));
    Ok(outcome)
}
