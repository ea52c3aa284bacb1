//! What must happen in time. Bounds hold from when the last fault is over, and for a world without faults always.

use std::time::Duration;

use chrono::TimeDelta;
use domain::{JobState, Timestamp};
use uuid::Uuid;

use crate::model::{Broken, JobRow, Model, WorkerRow, micros};
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
/// Chores in a world without faults: a round of the slowest of them, and the lock that one who left held; the clock of
/// the one who does it may be late.
const CHORE_WITHIN: Duration = Duration::from_secs(3 + SKEW.as_secs());
/// After faults: a slow call, an error, and a lock that a dead one held.
const CHORE_LATE: Duration = Duration::from_secs(15);
/// After a deadline: what a run is given to wind up, and something for writing its end.
const DEADLINE_WITHIN: Duration = Duration::from_secs(20 + 5 + 2 * SKEW.as_secs());
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
    starving(model, now, calm)?;
    forgotten(model, now, calm)
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
    let deadline = job.deadline.map(|at| at.max(micros_of(job.since)));
    overdue(
        deadline.is_some_and(|at| late(timestamp(at), DEADLINE_WITHIN)),
        "a run ends by its job's deadline",
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
    let free: Vec<&WorkerRow> = model
        .workers
        .iter()
        .filter(|(id, worker)| is_free(model, **id, worker, now))
        .map(|(_, worker)| worker)
        .collect();
    let mut hungry = Vec::new();
    for (queue, row) in &model.slots {
        let used_up = queue.1 == "session" && model.used_up.contains(&queue.0);
        let held = row.paused || used_up || model.inactive.contains(&queue.0);
        let open = !held && row.counts.running < row.quota;
        let waits = |plain: bool| {
            let mut jobs = model.jobs.values();
            open && jobs.any(|job| {
                (job.tenant, &job.kind) == (queue.0, &queue.1)
                    && job.is_due()
                    && !job.is_too_late(now)
                    && job.is_plain() == plain
                    && free.iter().any(|worker| job.may_run_on(worker))
            })
        };
        hungry.push((waits(true), waits(false)));
    }
    for ((queue, row), (plain, labelled)) in model.slots.iter_mut().zip(hungry) {
        let how = |since| format!("{} of {}, since {since}", queue.1, queue.0);
        for (waits, since) in [
            (plain, &mut row.starving),
            (labelled, &mut row.starving_labelled),
        ] {
            if !waits {
                *since = None;
                continue;
            }
            let since = *since.get_or_insert(now);
            overdue(
                now > since.max(calm.since) + delta(bound),
                "a free worker and a job that may run do not wait",
                || how(since),
            )?;
        }
    }
    Ok(())
}

fn is_free(model: &Model, id: Uuid, worker: &WorkerRow, now: Timestamp) -> bool {
    let runs = i64::try_from(model.running_of(id)).unwrap_or(i64::MAX);
    is_at_work(worker, now) && !worker.draining && runs < worker.capacity
}

fn is_at_work(worker: &WorkerRow, now: Timestamp) -> bool {
    let here = !worker.gone && worker.process.is_up();
    let settled = worker.since + delta(SETTLING) < now;
    here && settled && worker.lease_until > micros_of(now) + micros(SKEW)
}

/// What nobody but the engine does for a waiting job is done while a worker is there.
fn forgotten(model: &mut Model, now: Timestamp, calm: Calm) -> Result<(), Broken> {
    let before = std::mem::take(&mut model.chores);
    if !model.workers.values().any(|it| is_at_work(it, now)) {
        return Ok(());
    }
    let bound = if calm.always {
        CHORE_WITHIN
    } else {
        CHORE_LATE
    };
    for (id, job) in &model.jobs {
        let passed = |at: Option<i64>| at.is_some_and(|at| at <= micros_of(now));
        let queued = job.state == JobState::Queued;
        let waits = queued || job.state == JobState::Pending;
        let chores = [
            (
                queued && !job.due && passed(job.run_after),
                "a job becomes due when its time has come",
            ),
            (
                waits && passed(job.deadline),
                "a job that waits beyond its deadline fails",
            ),
            (
                model.is_decided(*id),
                "a job whose prerequisites have ended is released",
            ),
        ];
        for (_, rule) in chores.into_iter().filter(|(waits, _)| *waits) {
            let since = *before.get(&(*id, rule)).unwrap_or(&now);
            model.chores.insert((*id, rule), since);
            let late = now > since.max(calm.since) + delta(bound);
            overdue(late, rule, || format!("{id}, since {since}"))?;
        }
    }
    Ok(())
}

fn micros_of(at: Timestamp) -> i64 {
    at.timestamp_micros()
}

fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_timestamp_micros(micros).unwrap_or_default()
}

fn overdue(late: bool, rule: &'static str, how: impl FnOnce() -> String) -> Result<(), Broken> {
    if late {
        Err(Broken::new(rule, how()))
    } else {
        Ok(())
    }
}
