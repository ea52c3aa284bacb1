//! The rules, ending by ending, as long as nobody asked for anything else.

use std::time::Duration;

use super::{Ending, Settlement};
use crate::{AttemptOutcome, EventKind, Job, JobError, JobResult, JobState, Timestamp, backoff};

pub(super) fn decide(job: &Job, ending: Ending, now: Timestamp, jitter: f64) -> Settlement {
    use AttemptOutcome as Outcome;
    let end = |state, outcome, event| Settlement::new(job, state, outcome, event);
    match ending {
        Ending::Completed(result) => end(
            JobState::Completed,
            Outcome::Completed,
            EventKind::Completed,
        )
        .with(result),
        Ending::PartiallyCompleted(result) => end(
            JobState::PartiallyCompleted,
            Outcome::PartiallyCompleted,
            EventKind::PartiallyCompleted,
        )
        .with(result),
        Ending::Failed(error) => {
            end(JobState::Failed, Outcome::Failed, EventKind::Failed).because(error)
        }
        Ending::Rejected { error, result } => {
            end(JobState::Failed, Outcome::Failed, EventKind::Failed)
                .because(error)
                .with(result)
        }
        Ending::TimedOut(error) => {
            end(JobState::Timeout, Outcome::Timeout, EventKind::TimedOut).because(error)
        }
        Ending::Stopped(result) => Settlement {
            result,
            ..end(JobState::Stopped, Outcome::Stopped, EventKind::Stopped)
        },
        Ending::Paused(result) => Settlement {
            result,
            ..end(JobState::Paused, Outcome::Paused, EventKind::Paused)
        },
        Ending::OverBudget {
            stop,
            error,
            result,
        } => {
            let ended = if stop {
                end(JobState::Stopped, Outcome::Stopped, EventKind::Stopped)
            } else {
                end(JobState::Paused, Outcome::Paused, EventKind::Paused)
            };
            Settlement {
                result,
                error: Some(error),
                ..ended
            }
        }
        Ending::HandedBack => end(JobState::Queued, Outcome::HandedBack, EventKind::HandedBack),
        Ending::Yielded { wait, why } => Settlement {
            run_after: Some(now + wait),
            reason: Some(why),
            ..end(JobState::Queued, Outcome::HandedBack, EventKind::HandedBack)
        },
        Ending::LeaseLost => again(
            job,
            lease_lost(job),
            Outcome::LeaseLost,
            Duration::ZERO,
            now,
        ),
        Ending::Retry { error, after } => {
            let wait = after.unwrap_or_else(|| backoff(job.failures + 1, jitter));
            again(job, error, Outcome::Failed, wait, now)
        }
    }
}

impl Settlement {
    fn new(job: &Job, state: JobState, outcome: AttemptOutcome, event: EventKind) -> Self {
        Self {
            state,
            outcome,
            event,
            failures: job.failures,
            run_after: None,
            result: None,
            error: None,
            reason: None,
        }
    }

    fn with(mut self, result: JobResult) -> Self {
        self.result = Some(result);
        self
    }

    /// A run that failed counts against the job's attempts.
    fn because(mut self, error: JobError) -> Self {
        self.failures += 1;
        self.error = Some(error);
        self
    }
}

/// Queued once more while attempts are left, else failed for good.
fn again(
    job: &Job,
    error: JobError,
    outcome: AttemptOutcome,
    wait: Duration,
    now: Timestamp,
) -> Settlement {
    let (state, event) = if job.failures + 1 >= job.max_attempts && job.stop_requested_at.is_none()
    {
        (JobState::Failed, EventKind::Failed)
    } else {
        (JobState::Queued, EventKind::RetryScheduled)
    };
    let waits = state == JobState::Queued && !wait.is_zero();
    Settlement {
        run_after: waits.then(|| now + wait),
        ..Settlement::new(job, state, outcome, event).because(error)
    }
}

fn lease_lost(job: &Job) -> JobError {
    let worker = job
        .status
        .claim()
        .map_or_else(String::new, |claim| format!(" {}", claim.worker));
    JobError::new(
        "LEASE_LOST",
        format!("worker{worker} died, or was not heard of for a whole lease; its run was given up"),
    )
}
