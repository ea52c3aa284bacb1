//! Bulk submissions, with nobody there to run them.

use crate::cli::Cli;
use crate::installation::Installation;
use crate::load::BULK;
use crate::outcome::Outcome;
use crate::stats::{Latency, per_second};
use crate::usage::Meter;

use super::{QUOTA_FAR, submit_backlog, tenants};

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    let tenants = tenants(installation, "bulk", cli.tenants(), QUOTA_FAR).await?;
    let meter = Meter::start(&installation.watched());
    let sent = submit_backlog(cli, installation, &tenants, cli.jobs()).await?;
    let usage = meter.stop(&installation.watched(), sent.jobs);
    let store = installation.store().await?;
    let tally = store.tally().await?;
    store.close().await;
    let mut outcome = Outcome {
        jobs: sent.jobs,
        rate: Some(per_second(sent.jobs, sent.elapsed_micros())),
        rate_of: "first request to last answer",
        latency: Latency::of_micros(sent.latencies),
        latency_of: "of a request",
        usage,
        faults: tally.faults_so_far(sent.jobs),
        ..Outcome::default()
    };
    outcome.figure("jobs a request", BULK);
    Ok(outcome)
}
