//! Single submissions, with nobody there to run them: what the API takes.

use crate::cli::Cli;
use crate::installation::Installation;
use crate::load::{fire, singles};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::stats::{Latency, per_second};
use crate::usage::Meter;

use super::{QUOTA_FAR, callers, tenants};

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    let tenants = tenants(installation, "submit", cli.tenants(), QUOTA_FAR).await?;
    let jobs = cli.jobs();
    let shots = singles(&callers(&tenants), jobs);
    let progress = Progress::new("submitting", jobs);
    let meter = Meter::start(&installation.watched());
    let sent = fire(installation.port, cli.connections(), shots, &progress).await?;
    let usage = meter.stop(&installation.watched(), jobs);
    let store = installation.store().await?;
    let tally = store.tally().await?;
    store.close().await;
    Ok(Outcome {
        jobs,
        rate: Some(per_second(sent.jobs, sent.elapsed_micros())),
        rate_of: "first request to last answer",
        latency: Latency::of_micros(sent.latencies),
        latency_of: "of a request",
        usage,
        faults: tally.faults_so_far(sent.jobs),
        ..Outcome::default()
    })
}
