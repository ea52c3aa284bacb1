//! RUN: one job from its claim to its settled end. Nothing that a job does can end the worker.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Finish, Guard, HandlerError, Interruption, RunContext as _};
use domain::{
    AGENT_LABEL, Ending, Job, JobError, JobState, LogChunk, LogStream, Outcome, Timestamp, settle,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinError};
use tokio::time::Instant;

use crate::context::JobContext;
use crate::fail_over::fail_over;
use crate::finish::End;
use crate::handlers::{Handled, handle};
use crate::life::Worker;
use crate::locks::RunLocks;
use crate::running::Entry;
use crate::verdict::verdict;
use crate::write::Written;

/// How long a run that was told to end may take to wind up (checkpoint, diff) before it is dropped.
const WIND_UP: Duration = Duration::from_secs(20);
/// The same at most of a run that is paused: what it has changed is kept, and may be much.
const WIND_UP_TO_PAUSE: Duration = Duration::from_mins(3);
/// How long a run that gave way waits at least.
const GIVE_WAY: Duration = Duration::from_millis(333);
/// How long a run waits at least that came to a worker which cannot do it: it may meet the same one again.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// Why a run is tried again whose end was refused or not waited for.
const LOCK_LOST: &str =
    "the lock that it worked under went to another run; what it did does not count";
/// Between tries to write the end of a run while the store cannot be reached.
const FINISH_RETRY: Duration = Duration::from_millis(500);

/// A claimed job.
pub(crate) struct Start {
    pub job: Job,
    /// Worker-seconds that its queue was charged for it at the pick.
    pub charged: f64,
    /// On the list of runs from the claim on.
    pub entry: Entry,
}

/// What a run takes, for its queue's account.
#[derive(Debug, Clone, Copy)]
struct Account {
    began: Instant,
    charged: f64,
}

/// What goes with a run's end.
#[derive(Debug, Clone)]
struct Rest {
    /// What it says of the agent that did the work.
    agent: Outcome,
    /// What it said last.
    logs: Vec<LogChunk>,
    /// Locks that it worked under.
    guards: Vec<Guard>,
}

/// Runs a job that this worker has claimed; `slot` is free again when its end is written.
pub(crate) async fn run(worker: Arc<Worker>, start: Start, slot: OwnedSemaphorePermit) {
    let Start {
        job,
        charged,
        entry,
    } = start;
    // It is claimed with its agent's spec, so what was asked for shows in what its queue asks workers for.
    let routed = job.requires.0.contains_key(AGENT_LABEL);
    let context = JobContext::new(Arc::clone(&worker), &job, entry.interruption());
    let account = Account {
        began: Instant::now(),
        charged,
    };
    worker.metrics.worker_slots_busy.inc();
    tracing::debug!(job = %job.id, tenant = %job.tenant, attempt = job.attempt, "run begins");
    let handled = attend(&worker, &job, &context, &entry).await;
    let logs = context.close().await;
    let locks = context.take_locks();
    let mut rest = Rest {
        logs,
        agent: Outcome::Nothing,
        guards: locks.as_ref().map(RunLocks::guards).unwrap_or_default(),
    };
    let by_agent = handled.by_agent;
    let ending = ending(&job, handled, entry.why(), worker.ports.clock.now());
    if let Some(ending) = ending {
        let ending = if routed {
            fail_over(&worker, &job, ending, by_agent).await
        } else {
            ending
        };
        let limit = job.max_duration_seconds;
        rest.agent = verdict(limit, &ending, by_agent, account.began.elapsed());
        finish(&worker, &job, ending, rest, account).await;
    }
    if let Some(locks) = locks {
        locks.release().await;
    }
    worker.metrics.worker_slots_busy.dec();
    drop(slot);
}

/// Aborts the handler when the run itself is dropped.
struct Leash(AbortHandle);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets the handler work until it ends, its time is over, or it was told to end and did not.
async fn attend(
    worker: &Arc<Worker>,
    job: &Job,
    context: &Arc<JobContext>,
    entry: &Entry,
) -> Handled {
    if worker.lease_end.is_over() {
        return Handled::interrupted(Interruption::LeaseLost);
    }
    let mut interruption = entry.interruption();
    let mut work = tokio::spawn(handle(Arc::clone(worker), job.clone(), Arc::clone(context)));
    let _leash = Leash(work.abort_handle());
    let latest = job.deadline.map(|at| instant_of(worker, at));
    let mut began = context.began();
    let mut patience: Option<Instant> = None;
    loop {
        let limit = Duration::from_secs(job.max_duration_seconds.into());
        let limit = began.borrow_and_update().map(|began| began + limit);
        let deadline = limit.into_iter().chain(latest).min();
        let lost = interruption.wait_for(|why| *why == Some(Interruption::LeaseLost));
        tokio::select! {
            biased;
            handled = &mut work => return handled.unwrap_or_else(|error| broke(&error)),
            _ = lost => return Handled::interrupted(Interruption::LeaseLost),
            () = until(patience.or(deadline)) => {}
            () = told(entry), if patience.is_none() => {}
            // The sender lives as long as the context.
            _ = began.changed(), if patience.is_none() => continue,
        }
        if let (Some(why), Some(_)) = (entry.why(), patience) {
            tracing::warn!(job = %job.id, ?why, "the run did not wind up in time and is dropped");
            let line = "the run did not wind up in time and was dropped: what it changed is lost\n";
            context.log(LogStream::System, line).await;
            return Handled::interrupted(why);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            worker.running.interrupt(job.id, Interruption::Deadline);
        }
        patience = Some(wound_up_by(entry.why(), deadline));
    }
}

/// A run that is paused may use the rest of its own time as well.
fn wound_up_by(why: Option<Interruption>, deadline: Option<Instant>) -> Instant {
    let now = Instant::now();
    match (why, deadline) {
        (Some(Interruption::Pause), Some(deadline)) => {
            (deadline + WIND_UP).clamp(now + WIND_UP, now + WIND_UP_TO_PAUSE)
        }
        _ => now + WIND_UP,
    }
}

/// When the job's deadline comes, by the clock that never jumps.
fn instant_of(worker: &Worker, deadline: Timestamp) -> Instant {
    let left = deadline - worker.ports.clock.now();
    Instant::now() + left.to_std().unwrap_or_default()
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn told(entry: &Entry) {
    let mut interruption = entry.interruption();
    // The sender lives as long as the entry.
    let _ = interruption.wait_for(Option::is_some).await;
}

fn broke(error: &JoinError) -> Handled {
    tracing::error!(%error, "a handler broke");
    let message = "the worker's handler broke while it ran this job; this is a bug of the orchestrator, \
                   see the worker's log";
    Handled::failed(HandlerError::Retry(JobError::new("HANDLER_BROKE", message)))
}

/// `None`: the job is not ours, so nothing is said of its end.
fn ending(
    job: &Job,
    handled: Handled,
    why: Option<Interruption>,
    now: Timestamp,
) -> Option<Ending> {
    let Err(error) = handled.outcome else {
        return match (handled.result, why) {
            (_, Some(Interruption::LeaseLost)) => None,
            (_, Some(Interruption::LockLost)) => Some(yielded(LOCK_LOST, GIVE_WAY)),
            (Some(result), _) => Some(Ending::Completed(result)),
            (None, _) => Some(Ending::Failed(JobError::new(
                "NO_RESULT",
                "the run ended without a result",
            ))),
        };
    };
    let why = why.or(match error {
        HandlerError::Interrupted(why) => Some(why),
        _ => None,
    });
    match (why, error) {
        (Some(Interruption::LeaseLost), _) | (None, HandlerError::Interrupted(_)) => None,
        (Some(Interruption::Stop), _) => Some(Ending::Stopped(handled.result)),
        (Some(Interruption::Pause), _) => Some(Ending::Paused(handled.result)),
        (Some(Interruption::Drain), _) => Some(Ending::HandedBack),
        (Some(Interruption::Deadline), _) => Some(Ending::TimedOut(deadline_exceeded(job, now))),
        (None, HandlerError::Fail(error) | HandlerError::Unfit(error)) => {
            Some(match handled.result {
                Some(result) if result.is_rejected() => Ending::Rejected { error, result },
                _ => Ending::Failed(error),
            })
        }
        (None, HandlerError::OverBudget { error, stop }) => Some(Ending::OverBudget {
            stop,
            error,
            result: handled.result,
        }),
        (None, HandlerError::Retry(error)) => Some(Ending::Retry { error, after: None }),
        (Some(Interruption::LockLost), _) => Some(yielded(LOCK_LOST, GIVE_WAY)),
        (None, HandlerError::Yield(why)) => Some(yielded(&why, GIVE_WAY)),
        (None, HandlerError::Elsewhere(why)) => Some(yielded(&why, ELSEWHERE)),
    }
}

fn deadline_exceeded(job: &Job, now: Timestamp) -> JobError {
    if let Some(deadline) = job.deadline.filter(|deadline| *deadline <= now) {
        let message =
            format!("the run was ended because the job's deadline, {deadline}, has passed");
        return JobError::new("DEADLINE_PASSED", message);
    }
    let limit = job.max_duration_seconds;
    let message = format!(
        "the run was ended because it took longer than its limit of {limit} s; raise max_duration_seconds if it \
         needs more"
    );
    JobError::new("DEADLINE_EXCEEDED", message)
}

/// Tried again after one to three times `least`, so that runs that gave way to each other do not meet again.
fn yielded(why: &str, least: Duration) -> Ending {
    Ending::Yielded {
        wait: least.mul_f64(1.0 + 2.0 * fastrand::f64()),
        why: why.to_owned(),
    }
}

/// Writes the end, however long the store is away, as long as the lease holds.
async fn finish(worker: &Worker, job: &Job, ending: Ending, rest: Rest, account: Account) {
    let Some(end) = end_of(worker, job, ending, rest) else {
        return;
    };
    if write_end(worker, job, &end, account).await || end.guards.is_empty() {
        return;
    }
    // Either the job is not ours any more, or a lock that it worked under is not. In the second case nobody else would
    // end it: it is tried again.
    let rest = Rest {
        agent: end.agent,
        logs: end.logs,
        guards: Vec::new(),
    };
    if let Some(again) = end_of(worker, job, yielded(LOCK_LOST, GIVE_WAY), rest) {
        write_end(worker, job, &again, account).await;
    }
}

fn end_of(worker: &Worker, job: &Job, ending: Ending, rest: Rest) -> Option<Finish> {
    let now = worker.ports.clock.now();
    let settlement = match settle(job, ending, now, fastrand::f64()) {
        Ok(settlement) => settlement,
        Err(error) => {
            tracing::error!(%error, job = %job.id, "the run's end fits no state");
            return None;
        }
    };
    Some(Finish {
        queue: job.queue(),
        job: job.id,
        fence: job.fence,
        attempt: job.attempt,
        settlement,
        agent: rest.agent,
        logs: rest.logs,
        guards: rest.guards,
    })
}

/// False when it was refused.
async fn write_end(worker: &Worker, job: &Job, end: &Finish, account: Account) -> bool {
    loop {
        let end_of_run = End {
            finish: end.clone(),
            beyond: account.began.elapsed().as_secs_f64() - account.charged,
        };
        match worker.finishes.finish(end_of_run).await {
            Written::Yes | Written::Over(_) => {
                count(worker, job, end, account.began);
                return true;
            }
            Written::Fenced => {
                tracing::warn!(job = %job.id, "the run's end was not written: the job or its lock was taken back");
                return false;
            }
            Written::NotNow => tokio::select! {
                biased;
                () = worker.over.cancelled() => return true,
                () = tokio::time::sleep(FINISH_RETRY) => {}
            },
        }
    }
}

fn count(worker: &Worker, job: &Job, finish: &Finish, began: Instant) {
    let kind = job.kind();
    let kind = kind.as_str();
    let metrics = &worker.metrics;
    let settlement = &finish.settlement;
    metrics
        .job_run_seconds
        .with_label_values(&[kind])
        .observe(began.elapsed().as_secs_f64());
    let outcome = settlement.outcome.as_str();
    metrics
        .attempts_finished_total
        .with_label_values(&[kind, outcome])
        .inc();
    if settlement.state == JobState::Queued {
        metrics.job_retries_total.with_label_values(&[kind]).inc();
    } else {
        let state = settlement.state.as_str();
        metrics
            .jobs_finished_total
            .with_label_values(&[kind, state])
            .inc();
    }
}
