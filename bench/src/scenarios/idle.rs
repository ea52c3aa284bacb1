//! One job at a time on a system with nothing else to do: how long until it starts.
//!
//! Nobody polls for it. All instants are stored by the product: when the API took the job in, when a worker claimed it
//! (read before the claim's transaction), and when the handler wrote its first word to the log.

use std::time::Duration;

use crate::cli::Cli;
use crate::http::Connection;
use crate::installation::Installation;
use crate::load::single;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::stats::Latency;
use crate::store::Times;
use crate::usage::Meter;

use super::{QUOTA_FAR, all_ended, lives, tenants, times, waits};

/// Long enough for a job to end before the next one comes, and of no fixed beat that a timer could fall into.
const PAUSE_MILLIS: std::ops::Range<u64> = 60..260;

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    installation.start_workers().await?;
    installation.workers_are_up().await?;
    let tenants = tenants(installation, "idle", 1, QUOTA_FAR).await?;
    let jobs = cli.jobs();
    let request = single(&tenants[0].caller);
    let mut connection = Connection::open(installation.port).await?;
    let progress = Progress::new("one at a time", jobs);
    let store = installation.store().await?;
    let meter = Meter::start(&installation.watched());
    let mut requests = Vec::new();
    for _ in 0..jobs {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(PAUSE_MILLIS))).await;
        let began = std::time::Instant::now();
        let answer = connection.send(&request).await?;
        anyhow::ensure!(answer.status == 201, "answered {}", answer.text());
        requests.push(crate::load::micros(began.elapsed()));
        progress.add(1);
    }
    drop(progress);
    all_ended(&store, jobs).await?;
    let usage = meter.stop(&installation.watched(), jobs);
    let times = times(&store, &tenants).await?;
    let tally = store.tally().await?;
    store.close().await;
    let spoken = Latency::of_micros(to_first_word(&times));
    let mut outcome = Outcome {
        jobs,
        latency: spoken.or_else(|| Latency::of_micros(waits(&times))),
        latency_of: match spoken {
            Some(_) => "submit to the handler's first word (stored)",
            None => "submit to claim (stored)",
        },
        usage,
        faults: tally.faults(jobs),
        ..Outcome::default()
    };
    outcome.latency_figure(
        "submit to claim (stored)",
        Latency::of_micros(waits(&times)),
    );
    outcome.latency_figure("submit to end (stored)", Latency::of_micros(lives(&times)));
    outcome.latency_figure("of a request", Latency::of_micros(requests));
    Ok(outcome)
}

fn to_first_word(times: &[Times]) -> Vec<u64> {
    let spoken = times.iter().filter_map(|it| Some((it.created, it.spoke?)));
    spoken
        .map(|(created, spoke)| spoke.saturating_sub(created))
        .collect()
}
