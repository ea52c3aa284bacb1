//! FIRE: schedules whose tick has come make their jobs.
//!
//! What a tick makes is worked out from what was read; the store checks in the transaction that nothing has moved since,
//! so it does no harm when several processes do this at once.

use domain::{Job, JobId, MissedTicks, Schedule, Timestamp, Violations};

use super::{Dispatcher, release_jobs};
use crate::Timetable;
use crate::ports::{Fired, Firing, Ids, NextTick, Ports, Signal, StoreError};

/// Schedules of one round; a round is short enough to be broken off between two of them.
pub const FIRE_BATCH: u32 = 100;

/// What a schedule says of a tick that [`domain::MissedTicks::Skip`] leaves out.
const MISSED: &str =
    "it was missed: no worker looked for more than a minute after it, and missed is skip";

/// What one round did.
#[derive(Debug, Default)]
pub struct FireRound {
    /// Jobs that were made.
    pub jobs: u32,
    /// Ticks that were refused their jobs; the schedules say why.
    pub refused: u32,
    /// Ticks that made no job because of the previous one.
    pub overlapped: u32,
    /// Ticks that were seen too late, of schedules that make nothing up.
    pub missed: u32,
    /// As many were due as one round takes: there may be more.
    pub full: bool,
    /// When the next tick comes, as far as is known now.
    pub next: Option<Timestamp>,
}

pub async fn fire_schedules(ports: &Ports) -> Result<FireRound, StoreError> {
    let now = ports.clock.now();
    let due = ports.schedules.due_schedules(FIRE_BATCH, now).await?;
    let mut round = FireRound {
        full: due.schedules.len() >= FIRE_BATCH as usize,
        next: due.next,
        ..FireRound::default()
    };
    let mut failed = None;
    for schedule in &due.schedules {
        let Some(firing) = firing(&*ports.ids, schedule, now) else {
            continue;
        };
        round.next = earlier(round.next, firing.tick.and_then(|tick| tick.next));
        let error = firing.error.clone();
        match ports.schedules.fire(firing, now).await {
            Ok(fired) => {
                count(&mut round, schedule, &fired, error);
                announce(ports, schedule, fired).await;
            }
            // One schedule that cannot be fired does not keep the others from it.
            Err(error) => {
                tracing::warn!(%error, schedule = %schedule.id, "a schedule could not be fired");
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(round), Err)
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}

/// What the ticks that have come make; `None` when it has no next tick at all.
pub(crate) fn firing(ids: &dyn Ids, schedule: &Schedule, now: Timestamp) -> Option<Firing> {
    let expected = schedule.next_at?;
    let base = Firing {
        tenant: schedule.tenant,
        schedule: schedule.id,
        version: schedule.version,
        tick: Some(NextTick {
            expected,
            latest: expected,
            next: None,
        }),
        jobs: Vec::new(),
        error: None,
        unless_running: schedule.overlap == domain::Overlap::Skip,
    };
    let timetable = match Timetable::parse(&schedule.cron, &schedule.timezone) {
        Ok(timetable) => timetable,
        // It was understood when it was made. Without a next tick it rests until somebody edits it.
        Err(error) => {
            return Some(Firing {
                error: Some(error.to_string()),
                ..base
            });
        }
    };
    let mut come = timetable.latest(expected, now, MissedTicks::ALL_MAX);
    if come.is_empty() {
        // A zone's rules changed meanwhile; the tick was announced and comes.
        come.push(expected);
    }
    let ticks = schedule.ticks_to_fire(&come, now);
    let made: Result<Vec<Job>, Violations> = ticks
        .into_iter()
        .map(|tick| job(ids, schedule, Some(tick), now))
        .collect();
    let (jobs, error) = match made {
        Ok(jobs) if jobs.is_empty() => (jobs, Some(MISSED.to_owned())),
        Ok(jobs) => (jobs, None),
        Err(violations) => (
            Vec::new(),
            Some(format!("its jobs are refused: {violations}")),
        ),
    };
    Some(Firing {
        tick: Some(NextTick {
            expected,
            latest: come.last().copied().unwrap_or(expected),
            next: timetable.after(now).ok(),
        }),
        jobs,
        error,
        ..base
    })
}

pub(crate) fn job(
    ids: &dyn Ids,
    schedule: &Schedule,
    tick: Option<Timestamp>,
    now: Timestamp,
) -> Result<Job, Violations> {
    let id = JobId::from_uuid(ids.next(now));
    schedule
        .new_job(tick, now)
        .into_job(id, schedule.tenant, now)
}

fn count(round: &mut FireRound, schedule: &Schedule, fired: &Fired, error: Option<String>) {
    round.jobs += u32::try_from(fired.jobs.len()).unwrap_or(u32::MAX);
    if fired.moved {
        return;
    }
    if error.as_deref() == Some(MISSED) {
        round.missed += 1;
        tracing::info!(schedule = %schedule.id, name = %schedule.name, "a tick was missed and makes no job");
        return;
    }
    let refused = fired.refused.as_ref().map(ToString::to_string);
    if let Some(why) = refused.or(error) {
        round.refused += 1;
        tracing::warn!(schedule = %schedule.id, name = %schedule.name, why, "a tick made no job");
    }
    if let Some(job) = fired.overlaps {
        round.overlapped += 1;
        tracing::info!(schedule = %schedule.id, name = %schedule.name, %job, "a tick was left out: the previous job has not ended");
    }
}

/// After the commit: wake-ups, slots and watchers.
pub(super) async fn announce(ports: &Ports, schedule: &Schedule, fired: Fired) {
    if fired.jobs.is_empty() {
        return;
    }
    let dispatcher = Dispatcher::new(ports.clone());
    let submitted = fired.submitted;
    dispatcher
        .dispatch(submitted.publish, &submitted.slots)
        .await;
    let signals = fired.jobs.into_iter().map(|job| Signal::JobChanged {
        tenant: schedule.tenant,
        job,
    });
    dispatcher.signal(signals.collect()).await;
    if submitted.to_release
        && let Err(error) = release_jobs(ports).await
    {
        tracing::warn!(%error, "jobs whose prerequisites have ended are released by a worker later");
    }
}
