//! Why a job waits: everything that keeps it from running now, who is before it, and a guess how long.

use domain::{Job, JobId, JobKind, JobState, Labels, TenantId, Timestamp};

use super::route_task;
use crate::ports::{Holder, Ports, StoreError, Waiting};

/// What a person wants to know of a job that does not run.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    pub job: Job,
    /// Nothing for a job that runs or is over.
    pub reasons: Vec<Reason>,
    /// Its place among the due jobs of its queue, from 1; `None` when it is not one of them.
    pub position: Option<u32>,
    pub running: u32,
    pub quota: u32,
    /// Runs that hold the slots, the oldest first.
    pub holders: Vec<Holder>,
    pub estimate: Option<Estimate>,
}

/// One thing that keeps a job from running.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// It was created with `start: false`.
    NotStarted,
    /// It was paused by a person.
    Paused,
    Prerequisites(Vec<(JobId, JobState)>),
    NotBefore(Timestamp),
    TenantInactive,
    QueuePaused(JobKind),
    /// So many of its tenant's jobs run as may.
    QuotaFull {
        running: u32,
        quota: u32,
    },
    /// So many jobs of its queue come first.
    Turn {
        ahead: u32,
    },
    /// No live worker takes its kind and has its labels.
    NoWorker {
        kind: JobKind,
        requires: Labels,
    },
    /// No agent that it could be given is free, or none suits it; in words.
    NoAgent(String),
    /// All workers that could run it are full.
    WorkersBusy {
        workers: u32,
    },
    /// Nothing: it is about to begin.
    AboutToBegin,
}

/// When it may begin, if runs go on taking as long as they did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub seconds: f64,
    /// Completed runs that it is made of.
    pub runs: u32,
}

/// `None`: the tenant has no such job.
pub async fn why(ports: &Ports, tenant: TenantId, job: JobId) -> Result<Option<Why>, StoreError> {
    let now = ports.clock.now();
    let waiting = ports.jobs.waiting(tenant, job, now).await?;
    let Some(waiting) = waiting else {
        return Ok(None);
    };
    let agent = no_agent(ports, tenant, &waiting.job, now).await?;
    let mut why = explain(waiting, now);
    if let Some(reason) = agent {
        // Nothing else is known of when it begins.
        why.reasons.retain(|reason| *reason != Reason::AboutToBegin);
        why.reasons.insert(0, Reason::NoAgent(reason));
        why.estimate = None;
    }
    Ok(Some(why))
}

/// Why a due session that is routed could not be given an agent now.
async fn no_agent(
    ports: &Ports,
    tenant: TenantId,
    job: &Job,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let Some(request) = job.spec.route().filter(|_| job.is_due(now)) else {
        return Ok(None);
    };
    let routing = route_task(ports, tenant, request).await?;
    Ok(routing.choice.is_none().then(|| routing.reason()))
}

fn explain(waiting: Waiting, now: Timestamp) -> Why {
    let reasons = reasons(&waiting, now);
    let due = waiting.job.is_due(now);
    let estimate = if due {
        estimate(&waiting, &reasons)
    } else {
        None
    };
    Why {
        reasons,
        position: due.then(|| waiting.ahead + 1),
        running: waiting.slots.running,
        quota: waiting.slots.quota,
        holders: waiting.holders,
        estimate,
        job: waiting.job,
    }
}

fn reasons(waiting: &Waiting, now: Timestamp) -> Vec<Reason> {
    let job = &waiting.job;
    match job.state() {
        JobState::Pending if !waiting.prerequisites.is_empty() => {
            return vec![Reason::Prerequisites(waiting.prerequisites.clone())];
        }
        JobState::Pending if job.depends_on.is_empty() => return vec![Reason::NotStarted],
        // All have ended well; it is queued in a moment.
        JobState::Pending => return vec![Reason::AboutToBegin],
        JobState::Paused => return vec![Reason::Paused],
        JobState::Queued => {}
        _ => return Vec::new(),
    }
    let slots = &waiting.slots;
    let kind = job.kind();
    let not_before = job.run_after.filter(|at| *at > now).map(Reason::NotBefore);
    let no_worker = (waiting.workers == 0).then(|| Reason::NoWorker {
        kind,
        requires: job.requires.clone().without_agent(),
    });
    let busy = waiting.workers > 0 && waiting.free_worker_slots == 0;
    let mut reasons: Vec<Reason> = [
        not_before,
        (!waiting.tenant_active).then_some(Reason::TenantInactive),
        waiting.queue_paused.then_some(Reason::QueuePaused(kind)),
        no_worker,
        (slots.free() == 0).then_some(Reason::QuotaFull {
            running: slots.running,
            quota: slots.quota,
        }),
        busy.then_some(Reason::WorkersBusy {
            workers: waiting.workers,
        }),
        // One that is not due yet has no place among those that are.
        (waiting.ahead > 0 && job.is_due(now)).then_some(Reason::Turn {
            ahead: waiting.ahead,
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if reasons.is_empty() {
        reasons.push(Reason::AboutToBegin);
    }
    reasons
}

/// Only where nothing but time stands in the way, and some run has shown how long runs take.
fn estimate(waiting: &Waiting, reasons: &[Reason]) -> Option<Estimate> {
    let only_time = reasons.iter().all(|reason| {
        matches!(
            reason,
            Reason::QuotaFull { .. }
                | Reason::Turn { .. }
                | Reason::WorkersBusy { .. }
                | Reason::AboutToBegin
        )
    });
    if !only_time || waiting.recent_seconds.is_empty() {
        return None;
    }
    let runs = u32::try_from(waiting.recent_seconds.len()).unwrap_or(u32::MAX);
    let mean = waiting.recent_seconds.iter().sum::<f64>() / f64::from(runs);
    let free = waiting.slots.free().min(waiting.free_worker_slots);
    let at_once = (waiting.slots.running + free)
        .min(waiting.slots.quota)
        .max(1);
    let ends_before = (waiting.ahead + 1).saturating_sub(free);
    Some(Estimate {
        seconds: mean * f64::from(ends_before) / f64::from(at_once),
        runs,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::{QueueKey, SlotSnapshot, Status};
    use uuid::Uuid;

    use super::*;
    use crate::testing::make;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn waiting() -> Waiting {
        let id = Uuid::from_u128(1);
        let tenant = TenantId::from_uuid(id);
        let job = make::job(make::new_session("one"), JobId::from_uuid(id), tenant, NOW);
        Waiting {
            slots: SlotSnapshot {
                queue: QueueKey {
                    tenant,
                    kind: JobKind::Session,
                },
                version: 1,
                weight: 1,
                quota: 2,
                running: 2,
                queued: 5,
                due: 5,
                published: 5,
                paused: false,
                service_seconds: 10.0,
            },
            job,
            tenant_active: true,
            queue_paused: false,
            draining: false,
            ahead: 3,
            holders: Vec::new(),
            prerequisites: Vec::new(),
            workers: 1,
            free_worker_slots: 8,
            recent_seconds: vec![8.0, 12.0],
        }
    }

    #[test]
    fn a_full_quota_and_those_before_it_are_named_with_an_estimate() {
        let why = explain(waiting(), NOW);
        let expected = [
            Reason::QuotaFull {
                running: 2,
                quota: 2,
            },
            Reason::Turn { ahead: 3 },
        ];
        assert_eq!(why.reasons, expected);
        assert_eq!(why.position, Some(4));
        // Four runs must end, two go at once, ten seconds each.
        assert_eq!(
            why.estimate,
            Some(Estimate {
                seconds: 20.0,
                runs: 2
            })
        );
    }

    #[test]
    fn what_time_does_not_cure_has_no_estimate() {
        let paused = Waiting {
            queue_paused: true,
            ..waiting()
        };
        let why = explain(paused, NOW);
        assert_eq!(why.reasons[0], Reason::QueuePaused(JobKind::Session));
        assert_eq!(why.estimate, None);
        let alone = Waiting {
            workers: 0,
            free_worker_slots: 0,
            ..waiting()
        };
        assert!(matches!(
            explain(alone, NOW).reasons[0],
            Reason::NoWorker { .. }
        ));
    }

    #[test]
    fn a_job_that_is_not_due_has_no_position() {
        let mut later = waiting();
        later.job.run_after = Some(NOW + Duration::from_mins(1));
        let why = explain(later, NOW);
        assert!(matches!(why.reasons[0], Reason::NotBefore(_)));
        let turn = |reason: &Reason| matches!(reason, Reason::Turn { .. });
        assert!(!why.reasons.iter().any(turn), "{:?}", why.reasons);
        assert_eq!((why.position, why.estimate), (None, None));
    }

    #[test]
    fn a_job_that_runs_or_is_over_waits_for_nothing() {
        let mut over = waiting();
        over.job.status = Status::Completed;
        assert_eq!(explain(over, NOW).reasons, []);
        let mut free = waiting();
        (free.slots.running, free.ahead) = (0, 0);
        assert_eq!(explain(free, NOW).reasons, [Reason::AboutToBegin]);
    }
}
