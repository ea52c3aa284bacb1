//! A fixed rate for a long time: does the wait or the memory grow?
//!
//! The load is open: each job has its instant, whether or not the one before was answered.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cli::Cli;
use crate::http::Connection;
use crate::installation::Installation;
use crate::load::single;
use crate::outcome::{Outcome, latency_value};
use crate::proc;
use crate::progress::Progress;
use crate::stats::{Latency, per_second, ratio};
use crate::store::Times;
use crate::usage::{Meter, Watched};

use super::{QUOTA_FAR, all_ended, lives, tenants, times, waits};

const WINDOW_SECONDS: u64 = 10;
/// More growth than this from the second window to the last is not flat.
const FLAT_GROWTH: f64 = 0.10;

pub async fn run(cli: &Cli, installation: &mut Installation) -> anyhow::Result<Outcome> {
    installation.start_workers().await?;
    installation.workers_are_up().await?;
    let tenants = tenants(installation, "steady", cli.tenants(), QUOTA_FAR).await?;
    let requests: Vec<Arc<[u8]>> = tenants.iter().map(|it| single(&it.caller).into()).collect();
    let store = installation.store().await?;
    let ours: Vec<Watched> = installation.watched();
    let meter = Meter::start(&ours);
    // PostgreSQL's memory is shared by processes that come and go; its tree has no one size.
    let sized = ours
        .into_iter()
        .filter(|it| it.name != "postgresql")
        .collect();
    let sampling = tokio::spawn(sample(sized, cli.seconds));
    let sent = drive(cli, installation.port, &requests).await?;
    let memory = sampling.await?;
    all_ended(&store, sent).await?;
    let usage = meter.stop(&installation.watched(), sent);
    let times = times(&store, &tenants).await?;
    let tally = store.tally().await?;
    store.close().await;
    let first = times.iter().map(|it| it.created).min().unwrap_or_default();
    let last = times.iter().map(|it| it.created).max().unwrap_or_default();
    let mut outcome = Outcome {
        jobs: sent,
        rate: Some(per_second(sent, last.saturating_sub(first))),
        rate_of: "first to last submit",
        latency: Latency::of_micros(lives(&times)),
        latency_of: "submit to end of a job",
        usage,
        faults: tally.faults(sent),
        ..Outcome::default()
    };
    outcome.latency_figure("submit to claim", Latency::of_micros(waits(&times)));
    outcome.figure("by 10 s, submit to end", windows(&times, first));
    for (name, sizes) in memory {
        outcome.figure(&format!("RSS of {name}, MiB by 10 s"), growth(&sizes));
    }
    Ok(outcome)
}

/// Submits at the rate; returns how many.
async fn drive(cli: &Cli, port: u16, requests: &[Arc<[u8]>]) -> anyhow::Result<u64> {
    let rate = cli.rate().unwrap_or(1.0);
    let mut beat = interval(Duration::from_secs_f64(1.0 / rate));
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let connections = cli.connections();
    let mut pool = Vec::new();
    for _ in 0..connections {
        pool.push(Connection::open(port).await?);
    }
    let (pool, free) = (
        Arc::new(Mutex::new(pool)),
        Arc::new(Semaphore::new(connections as usize)),
    );
    let progress = Progress::new("steady, s", cli.seconds);
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let (began, mut sent) = (Instant::now(), 0);
    for request in requests.iter().cycle() {
        beat.tick().await;
        if began.elapsed().as_secs() >= cli.seconds {
            break;
        }
        let place = Arc::clone(&free).acquire_owned().await?;
        let (pool, request) = (Arc::clone(&pool), Arc::clone(request));
        tasks.spawn(async move {
            let _place = place;
            let Some(mut connection) = pool.lock().await.pop() else {
                anyhow::bail!("a place without a connection");
            };
            let answer = connection.send(&request).await?;
            anyhow::ensure!(answer.status == 201, "answered {}", answer.text());
            pool.lock().await.push(connection);
            Ok(())
        });
        while let Some(done) = tasks.try_join_next() {
            done??;
        }
        sent += 1;
        progress.set(began.elapsed().as_secs());
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(sent)
}

/// Memory of each process, in KiB, at the end of each window.
async fn sample(watched: Vec<Watched>, seconds: u64) -> Vec<(String, Vec<u64>)> {
    let mut samples: Vec<(String, Vec<u64>)> = watched
        .iter()
        .map(|it| (it.name.clone(), Vec::new()))
        .collect();
    let began = Instant::now();
    for window in 1..=seconds / WINDOW_SECONDS {
        tokio::time::sleep_until(began + Duration::from_secs(window * WINDOW_SECONDS)).await;
        for (one, (_, sizes)) in watched.iter().zip(&mut samples) {
            sizes.push(proc::status_kib(one.pid, "VmRSS").unwrap_or_default());
        }
    }
    samples
}

fn windows(times: &[Times], first: u64) -> Value {
    let mut windows: Vec<Vec<Times>> = Vec::new();
    for one in times {
        let at = (one.created - first) / (WINDOW_SECONDS * 1_000_000);
        let at = usize::try_from(at).unwrap_or_default();
        windows.resize(windows.len().max(at + 1), Vec::new());
        windows[at].push(*one);
    }
    let latencies = windows.iter().map(|it| Latency::of_micros(lives(it)));
    latencies
        .map(|it| it.map_or(Value::Null, latency_value))
        .collect()
}

/// The first window is left out of the judgement: pools and caches fill then.
fn growth(kib: &[u64]) -> Value {
    let settled = kib
        .get(1)
        .or_else(|| kib.first())
        .copied()
        .unwrap_or_default();
    let last = kib.last().copied().unwrap_or_default();
    let growth = ratio(last, settled) - 1.0;
    json!({
        "mib": kib.iter().map(|kib| kib / 1024).collect::<Vec<_>>(),
        "growth_percent": (growth * 1e3).round() / 10.0,
        "flat": growth <= FLAT_GROWTH,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_judged_from_the_second_window() {
        assert_eq!(growth(&[1_024, 102_400, 107_520])["flat"], true);
        assert_eq!(growth(&[1_024, 102_400, 204_800])["flat"], false);
        assert_eq!(growth(&[1_024, 102_400, 107_520])["growth_percent"], 5.0);
    }

    #[test]
    fn jobs_fall_into_windows_by_their_submission() {
        let at = |seconds: u64| Times {
            created: seconds * 1_000_000,
            started: None,
            finished: Some(seconds * 1_000_000 + 5_000),
            spoke: None,
        };
        let windows = windows(&[at(100), at(109), at(125)], 100_000_000);
        assert_eq!(windows.as_array().unwrap().len(), 3);
        assert_eq!(windows[0]["p50_ms"], 5.0);
        assert_eq!(windows[1], Value::Null);
    }
}
