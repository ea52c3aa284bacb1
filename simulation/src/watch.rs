//! What must happen in time. Bounds hold from when the last fault is over, and for a world without faults always.

use std::time::Duration;

use chrono::TimeDelta;
use domain::{JobState, Timestamp};
use uuid::Uuid;

use crate::model::{Broken, JobRow, Model, micros};
use crate::plan::{GRACE, LEASE, RECONCILE_EVERY, SILENCE, SKEW};
use crate::process::Life;

/// Without faults a job that may run is taken within this: the slow poll behind the wake-ups, once.
const TAKEN_WITHIN: Duration = Duration::from_millis(1_200);
/// After faults: a lost message is found stale, by a reconciler whose lock a dead one held, and sent again.
const MENDED_WITHIN: Duration =
    Duration::from_secs(SILENCE.as_secs() + 4 * RECONCILE_EVERY.as_secs() + 3 * SKEW.as_secs());
/// After the lease and the grace: the reaper's pause, three times over for the lock that a dead one held.
const REAPED_WITHIN: Duration =
    Duration::from_secs(LEASE.as_secs() + GRACE.as_secs() + 3 * SKEW.as_secs() + 5);
/// The longest limit of a run here, what it is given to wind up, and something for writing its end.
const RUN_WITHIN: Duration = Duration::from_secs(8 + 20 + 5);
/// By signal.
const TOLD_WITHIN: Duration = Duration::from_millis(1_500);
/// By the next renewal of the lease, when the signal was lost.
const TOLD_LATE: Duration = Duration::from_secs(LEASE.as_secs() / 3 + 2);
/// A worker that began just now is still looking around.
const SETTLING: Duration = Duration::from_secs(3);

/// Since when nothing goes wrong any more, and whether something ever did.
#[derive(Debug, Clone, Copy)]
pub struct Calm {
    pub since: Timestamp,
    pub always: bool,
}

/// Everything that is overdue now.
pub fn look(model: &mut Model, now: Timestamp, calm: Calm) -> Result<(), Broken> {
    let late = |since: Timestamp, bound: Duration| now > since.max(calm.since) + delta(bound);
    for (id, job) in &model.jobs {
        running(model, *id, job, calm.always, late)?;
    }
    starving(model, now, calm)
}

/// At every moment, whatever goes wrong: what runs is what the store says that runs.
pub fn strays(model: &Model) -> Result<(), Broken> {
    for (id, attempt, process) in model.runs.live() {
        let job = model.jobs.get(&id);
        let held = job.is_some_and(|job| job.state.holds_slot() && job.attempt == attempt);
        let how = || format!("{id}, run {attempt}, on {}", process.name);
        overdue(!held, "a run ends before its job is given to another", how)?;
    }
    Ok(())
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::microseconds(micros(duration))
}

fn running(
    model: &Model,
    id: Uuid,
    job: &JobRow,
    always: bool,
    late: impl Fn(Timestamp, Duration) -> bool,
) -> Result<(), Broken> {
    if job.state != JobState::Running {
        return Ok(());
    }
    let how = || format!("{id}, run {}, since {}", job.attempt, job.since);
    if model.live_holder(job).is_none() {
        let dead = job.worker.and_then(|worker| model.workers.get(&worker));
        let dead = dead.is_none_or(|worker| worker.process.life() == Life::Dead || worker.gone);
        return overdue(
            dead && late(job.since, REAPED_WITHIN),
            "a dead worker's jobs come back",
            how,
        );
    }
    overdue(
        late(job.since, RUN_WITHIN),
        "a run ends within its limit",
        how,
    )?;
    let told = if always { TOLD_WITHIN } else { TOLD_LATE };
    let unaware = model.runs.is_unaware(id, job.attempt);
    let asked = job.stop_since.is_some_and(|since| late(since, told));
    overdue(asked && unaware, "a stop reaches its run", how)
}

/// A job that may run and a worker that could run it do not wait for each other.
fn starving(model: &mut Model, now: Timestamp, calm: Calm) -> Result<(), Broken> {
    let bound = if calm.always {
        TAKEN_WITHIN
    } else {
        MENDED_WITHIN
    };
    let mut waiting: Vec<_> = model.slots.keys().cloned().collect();
    waiting.retain(|queue| {
        let row = &model.slots[queue];
        let free =
            !row.paused && !model.inactive.contains(&queue.0) && row.counts.running < row.quota;
        // Every clock agrees that it is due.
        let surely = now.timestamp_micros() - micros(SKEW);
        let mut jobs = model.jobs.values();
        free && jobs.any(|job| job.tenant == queue.0 && job.kind == queue.1 && job.is_due(surely))
            && has_free_worker(model, &queue.1, now)
    });
    for (queue, row) in &mut model.slots {
        if !waiting.contains(queue) {
            row.starving = None;
            continue;
        }
        let since = *row.starving.get_or_insert(now);
        let how = || format!("{} of {}, since {since}", queue.1, queue.0);
        let late = now > since.max(calm.since) + delta(bound);
        overdue(
            late,
            "a free worker and a job that may run do not wait",
            how,
        )?;
    }
    Ok(())
}

fn has_free_worker(model: &Model, kind: &str, now: Timestamp) -> bool {
    model.workers.iter().any(|(id, worker)| {
        let here = !worker.gone && !worker.draining && worker.process.is_up();
        let settled = worker.since + delta(SETTLING) < now;
        let leased = worker.lease_until > now.timestamp_micros() + micros(SKEW);
        let runs = i64::try_from(model.running_of(*id)).unwrap_or(i64::MAX);
        here && settled && leased && worker.kinds.contains(kind) && runs < worker.capacity
    })
}

fn overdue(late: bool, rule: &'static str, how: impl FnOnce() -> String) -> Result<(), Broken> {
    if late {
        Err(Broken::new(rule, how()))
    } else {
        Ok(())
    }
}
