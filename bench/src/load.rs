//! The load generator: prepared requests on kept connections, a closed loop on each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::bail;
use serde_json::json;

use crate::http::{Caller, Connection};
use crate::progress::Progress;

/// The most that a bulk request may carry.
pub const BULK: u64 = 1_000;
pub const SESSIONS: &str = "/api/v1/sessions";

/// What came of a load.
#[derive(Debug, Default)]
pub struct Sent {
    pub jobs: u64,
    pub elapsed: Duration,
    /// Of each request, from its first byte to its answer's last.
    pub latencies: Vec<u64>,
}

impl Sent {
    pub fn elapsed_micros(&self) -> u64 {
        micros(self.elapsed)
    }
}

pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Now, as the store counts it, so that instants of this program can be laid beside stored ones.
#[expect(
    clippy::disallowed_methods,
    reason = "stored instants are read from the real clock"
)]
pub fn unix_micros() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map(micros).unwrap_or_default()
}

fn session(delay_seconds: u64) -> serde_json::Value {
    let agent = match delay_seconds {
        0 => json!({"kind": "echo"}),
        delay => json!({"kind": "echo", "delay_seconds": delay}),
    };
    json!({"title": "bench", "prompt": "say it", "agent": agent})
}

/// A request for one session.
pub fn single(caller: &Caller) -> Vec<u8> {
    caller.request("POST", SESSIONS, &session(0).to_string())
}

/// A request for many sessions, which wait for so long.
pub fn bulk(caller: &Caller, jobs: u64, delay_seconds: u64) -> Vec<u8> {
    let sessions: Vec<_> = (0..jobs).map(|_| session(delay_seconds)).collect();
    let body = json!({"sessions": sessions}).to_string();
    caller.request("POST", &format!("{SESSIONS}/bulk"), &body)
}

/// A prepared request and how many jobs it stands for.
pub type Shot = (Arc<[u8]>, u64);

/// `jobs` as single requests, by the callers in turn.
pub fn singles(callers: &[Caller], jobs: u64) -> Vec<Shot> {
    let prepared: Vec<Arc<[u8]>> = callers.iter().map(|it| single(it).into()).collect();
    let turns = prepared.iter().cycle();
    (0..jobs)
        .zip(turns)
        .map(|(_, request)| (Arc::clone(request), 1))
        .collect()
}

/// `jobs` for each caller as bulk requests.
pub fn bulks(callers: &[Caller], jobs_each: u64, delay_seconds: u64) -> Vec<Shot> {
    let rest = jobs_each % BULK;
    let full: Vec<Arc<[u8]>> = callers
        .iter()
        .map(|it| bulk(it, BULK, delay_seconds).into())
        .collect();
    let mut shots: Vec<Shot> = (0..jobs_each / BULK)
        .flat_map(|_| full.iter().map(|request| (Arc::clone(request), BULK)))
        .collect();
    if rest > 0 {
        shots.extend(
            callers
                .iter()
                .map(|it| (bulk(it, rest, delay_seconds).into(), rest)),
        );
    }
    shots
}

/// Sends all shots over `connections` connections as fast as they are answered. Anything but 201 is an error.
pub async fn fire(
    port: u16,
    connections: u32,
    shots: Vec<Shot>,
    progress: &Progress,
) -> anyhow::Result<Sent> {
    let shots: Arc<[Shot]> = shots.into();
    let next = Arc::new(AtomicU64::new(0));
    let mut open = Vec::new();
    for _ in 0..connections.min(u32::try_from(shots.len()).unwrap_or(u32::MAX)) {
        open.push(Connection::open(port).await?);
    }
    let began = Instant::now();
    let tasks: Vec<_> = open
        .into_iter()
        .map(|connection| {
            let (shots, next, progress) = (Arc::clone(&shots), Arc::clone(&next), progress.clone());
            tokio::spawn(one(connection, shots, next, progress))
        })
        .collect();
    let mut sent = Sent::default();
    for task in tasks {
        let (jobs, latencies) = task.await??;
        sent.jobs += jobs;
        sent.latencies.extend(latencies);
    }
    sent.elapsed = began.elapsed();
    Ok(sent)
}

async fn one(
    mut connection: Connection,
    shots: Arc<[Shot]>,
    next: Arc<AtomicU64>,
    progress: Progress,
) -> anyhow::Result<(u64, Vec<u64>)> {
    let (mut sent, mut latencies) = (0, Vec::new());
    loop {
        let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed))?;
        let Some((request, jobs)) = shots.get(at) else {
            return Ok((sent, latencies));
        };
        let began = Instant::now();
        let answer = connection.send(request).await?;
        if answer.status != 201 {
            bail!(
                "a submission was answered {}: {}",
                answer.status,
                answer.text()
            );
        }
        latencies.push(micros(began.elapsed()));
        sent += jobs;
        progress.add(*jobs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shots_add_up_to_the_jobs() {
        let caller = Caller {
            port: 1,
            key: "k".to_owned(),
            tenant: None,
        };
        let callers = [caller.clone(), caller];
        let count = |shots: Vec<Shot>| shots.iter().map(|(_, jobs)| jobs).sum::<u64>();
        assert_eq!(count(singles(&callers, 7)), 7);
        assert_eq!(count(bulks(&callers, 2_500, 0)), 5_000);
        assert_eq!(count(bulks(&callers, 1_000, 0)), 2_000);
        assert_eq!(bulks(&callers, 1, 9).len(), 2);
    }
}
