//! A guess how long a job still waits, from how long runs took. It looks at the job's own queue only: what other tenants'
//! runs do to workers that are full is not in it.

use domain::Timestamp;

use super::Reason;
use crate::ports::Waiting;

/// When it may begin, if runs go on taking as long as they did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub seconds: f64,
    /// Completed runs that it is made of.
    pub runs: u32,
}

/// Only where nothing but the end of runs is waited for, and some run has shown how long runs take.
pub(super) fn estimate(waiting: &Waiting, reasons: &[Reason], now: Timestamp) -> Option<Estimate> {
    let only_runs = reasons.iter().all(|reason| {
        matches!(
            reason,
            Reason::QuotaFull { .. } | Reason::Turn { .. } | Reason::WorkersBusy { .. }
        )
    });
    if !only_runs {
        return None;
    }
    let typical = median(&waiting.recent_seconds)?;
    let free_in = slots(waiting, typical, now);
    // All runs take the same by this guess, so slots get free again in the order in which they were taken.
    let ahead = waiting.ahead as usize;
    let first = free_in.get(ahead % free_in.len())?;
    let rounds = waiting.ahead / u32::try_from(free_in.len()).unwrap_or(u32::MAX);
    Some(Estimate {
        seconds: first + typical * f64::from(rounds),
        runs: u32::try_from(waiting.recent_seconds.len()).unwrap_or(u32::MAX),
    })
}

/// Not the mean: one run that slept with its machine would stand for all.
fn median(seconds: &[f64]) -> Option<f64> {
    let mut sorted = seconds.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// In how many seconds each slot of the queue may be used, the first to be free first; never empty.
fn slots(waiting: &Waiting, typical: f64, now: Timestamp) -> Vec<f64> {
    let left = |since: Timestamp| (typical - (now - since).as_seconds_f64()).clamp(0.0, typical);
    let running = waiting.holders.iter().map(|run| left(run.started_at));
    let mut running: Vec<f64> = running.collect();
    running.sort_unstable_by(f64::total_cmp);
    let of_queue = &waiting.slots;
    // Those that are not listed are the youngest.
    running.resize(of_queue.running as usize, typical);
    // Of more runs than the quota allows, the first to end make no room.
    let beyond = of_queue.running.saturating_sub(of_queue.quota);
    running.drain(..beyond as usize);
    let free = of_queue.free().min(waiting.free_worker_slots);
    let mut slots = vec![0.0; free as usize];
    slots.append(&mut running);
    if slots.is_empty() {
        slots.push(typical);
    }
    slots
}
