//! Why a job waits: everything that keeps it from running now, who is before it, and a guess how long.

mod estimate;
#[cfg(test)]
mod tests;

use std::time::Duration;

use domain::{
    AwaitedLock, BUDGET_EXCEEDED, Job, JobId, JobKind, JobState, Labels, TenantId, Timestamp,
};

pub use self::estimate::Estimate;
use self::estimate::estimate;
use super::route_task;
use crate::ports::{Holder, Ports, QueueError, StoreError, Waiting};

/// A broker that has not answered by then is as good as gone; a person waits for the answer.
const BROKER_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// What a person wants to know of a job that does not run.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    pub job: Job,
    /// Nothing for a job that works or is over.
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
    /// It was paused because a budget that it draws on is used up; which one, and what to do, in words.
    OverBudget(String),
    Prerequisites(Vec<(JobId, JobState)>),
    NotBefore(Timestamp),
    /// Its latest run failed, and it is tried again then.
    Backoff {
        until: Timestamp,
        /// The number of the retry that it waits for, and how many it has.
        retry: u32,
        retries: u32,
        /// The code of the run's error.
        code: String,
    },
    TenantInactive,
    /// All queues of its tenant are paused.
    TenantPaused,
    QueuePaused(JobKind),
    /// Its tenant has used up what its sessions may use in this month, which ends then.
    TenantBudget(Timestamp),
    /// No live worker takes its kind and has its labels.
    NoWorker {
        kind: JobKind,
        requires: Labels,
    },
    /// No agent that it could be given is free, or none suits it; in words.
    NoAgent(String),
    /// The broker does not answer, without which no worker learns of it.
    BrokerAway,
    /// So many of its tenant's jobs run as may, or more where the quota was lowered.
    QuotaFull {
        running: u32,
        quota: u32,
    },
    /// All workers that could run it are full.
    WorkersBusy {
        workers: u32,
    },
    /// So many jobs of its queue come first.
    Turn {
        ahead: u32,
    },
    /// It has its slot, and waits for what it shares with other runs.
    Lock(AwaitedLock),
    /// Nothing: it is about to begin.
    AboutToBegin,
}

/// `None`: the tenant has no such job.
pub async fn why(ports: &Ports, tenant: TenantId, job: JobId) -> Result<Option<Why>, StoreError> {
    let now = ports.clock.now();
    let Some(waiting) = ports.jobs.waiting(tenant, job, now).await? else {
        return Ok(None);
    };
    // Jobs that ask for labels have no wake-ups; workers ask the store for them.
    let needs_broker = waiting.job.is_due(now) && waiting.job.requires.is_empty();
    let broker_away = needs_broker && is_away(ports.queue.check()).await;
    let agent = no_agent(ports, tenant, &waiting.job, now).await?;
    let mut why = explain(waiting, broker_away, now);
    if let Some(reason) = agent {
        // Nothing else is known of when it begins.
        why.reasons.retain(|reason| *reason != Reason::AboutToBegin);
        why.reasons.insert(0, Reason::NoAgent(reason));
        why.estimate = None;
        // Whoever suits the agent that is free next goes first, whatever its place in the queue.
        why.position = None;
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

async fn is_away(check: impl Future<Output = Result<(), QueueError>>) -> bool {
    let answer = tokio::time::timeout(BROKER_ANSWERS_WITHIN, check).await;
    !matches!(answer, Ok(Ok(())))
}

fn explain(waiting: Waiting, broker_away: bool, now: Timestamp) -> Why {
    let reasons = reasons(&waiting, broker_away, now);
    let due = waiting.job.is_due(now);
    let estimate = due.then(|| estimate(&waiting, &reasons, now)).flatten();
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

fn reasons(waiting: &Waiting, broker_away: bool, now: Timestamp) -> Vec<Reason> {
    let job = &waiting.job;
    let state = job.state();
    if state.holds_slot() {
        let progress = job.progress.as_ref();
        let lock = progress.and_then(|progress| progress.awaited_lock(job.attempt));
        return lock.map(Reason::Lock).into_iter().collect();
    }
    if !matches!(
        state,
        JobState::Pending | JobState::Queued | JobState::Paused
    ) {
        return Vec::new();
    }
    let mut reasons: Vec<Reason> = own(waiting).into_iter().collect();
    reasons.extend(time(job, now));
    reasons.extend(outer(waiting, broker_away));
    // One that is not due yet has no place among those that are.
    if waiting.ahead > 0 && job.is_due(now) {
        reasons.push(Reason::Turn {
            ahead: waiting.ahead,
        });
    }
    if reasons.is_empty() {
        reasons.push(Reason::AboutToBegin);
    }
    reasons
}

/// What keeps the job itself from being queued.
fn own(waiting: &Waiting) -> Option<Reason> {
    let open = &waiting.prerequisites;
    match waiting.job.state() {
        JobState::Paused => Some(paused(&waiting.job)),
        JobState::Pending if !open.is_empty() => Some(Reason::Prerequisites(open.clone())),
        JobState::Pending if waiting.job.depends_on.is_empty() => Some(Reason::NotStarted),
        // A pending one whose prerequisites have all ended well is queued in a moment.
        _ => None,
    }
}

fn paused(job: &Job) -> Reason {
    match &job.error {
        Some(error) if error.code == BUDGET_EXCEEDED => Reason::OverBudget(error.message.clone()),
        _ => Reason::Paused,
    }
}

/// A time that has not come.
fn time(job: &Job, now: Timestamp) -> Option<Reason> {
    let until = job.run_after.filter(|at| *at > now)?;
    // A retry that a person asked for forgets the failures before it.
    match &job.error {
        Some(error) if job.failures > 0 && job.state() == JobState::Queued => {
            Some(Reason::Backoff {
                until,
                retry: job.failures,
                retries: job.max_attempts.saturating_sub(1),
                code: error.code.clone(),
            })
        }
        _ => Some(Reason::NotBefore(until)),
    }
}

/// What keeps every such job of its tenant from running.
fn outer(waiting: &Waiting, broker_away: bool) -> impl Iterator<Item = Reason> {
    let slots = &waiting.slots;
    let kind = waiting.job.kind();
    let no_worker = (waiting.workers == 0).then(|| Reason::NoWorker {
        kind,
        requires: waiting.job.requires.clone().without_agent(),
    });
    let paused = if waiting.all_queues_paused {
        Some(Reason::TenantPaused)
    } else {
        waiting.queue_paused.then_some(Reason::QueuePaused(kind))
    };
    let busy = waiting.workers > 0 && waiting.free_worker_slots == 0;
    let reasons = [
        (!waiting.tenant_active).then_some(Reason::TenantInactive),
        waiting.month_used_up_until.map(Reason::TenantBudget),
        paused,
        no_worker,
        broker_away.then_some(Reason::BrokerAway),
        (slots.free() == 0).then_some(Reason::QuotaFull {
            running: slots.running,
            quota: slots.quota,
        }),
        busy.then_some(Reason::WorkersBusy {
            workers: waiting.workers,
        }),
    ];
    reasons.into_iter().flatten()
}
