//! What becomes of a job when one of its runs ends: the one place where the end of a run turns into a state.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    Action, AttemptOutcome, EventKind, InvalidTransition, Job, JobError, JobResult, JobState,
    Timestamp, backoff,
};

/// How a run ended, as its worker (or, for a dead worker, the reaper) says.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    Completed(JobResult),
    PartiallyCompleted(JobResult),
    /// Trying again would not help.
    Failed(JobError),
    /// Trying again may help; `after` overrides the backoff.
    Retry {
        error: JobError,
        after: Option<Duration>,
    },
    TimedOut(JobError),
    Stopped(Option<JobResult>),
    HandedBack,
    LeaseLost,
}

/// What a store writes when a run ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    pub state: JobState,
    pub outcome: AttemptOutcome,
    pub event: EventKind,
    pub failures: u32,
    /// Only for a job that is queued again.
    pub run_after: Option<Timestamp>,
    pub result: Option<JobResult>,
    pub error: Option<JobError>,
}

/// Decides what becomes of `job`, which must be running; `jitter` is uniform in 0..1.
///
/// A stop that was asked for wins over being queued again: a stopped job never comes back by itself.
pub fn settle(
    job: &Job,
    ending: Ending,
    now: Timestamp,
    jitter: f64,
) -> Result<Settlement, InvalidTransition> {
    let settlement = decide(job, ending, now, jitter);
    // The table has the last word.
    let allowed = Action::ALL
        .into_iter()
        .any(|action| job.state().after(action) == Ok(settlement.state));
    if allowed {
        Ok(settlement)
    } else {
        Err(InvalidTransition {
            from: job.state(),
            action: Action::Requeue,
        })
    }
}

fn decide(job: &Job, ending: Ending, now: Timestamp, jitter: f64) -> Settlement {
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
        Ending::TimedOut(error) => {
            end(JobState::Timeout, Outcome::Timeout, EventKind::TimedOut).because(error)
        }
        Ending::Stopped(result) => Settlement {
            result,
            ..end(JobState::Stopped, Outcome::Stopped, EventKind::Stopped)
        },
        Ending::HandedBack if job.stop_requested_at.is_some() => {
            end(JobState::Stopped, Outcome::HandedBack, EventKind::Stopped)
        }
        Ending::HandedBack => end(JobState::Queued, Outcome::HandedBack, EventKind::HandedBack),
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
    /// The same, unless the job was asked to stop after this was decided: then it is not queued again.
    #[must_use]
    pub fn unless_stopped(self, stop_requested: bool) -> Self {
        if !stop_requested || self.state != JobState::Queued {
            return self;
        }
        Self {
            state: JobState::Stopped,
            event: EventKind::Stopped,
            run_after: None,
            ..self
        }
    }

    /// What the event of this settlement says: `error` and `run_after`, where there are such.
    pub fn event_data(&self) -> Map<String, Value> {
        let mut data = Map::new();
        if let Some(error) = &self.error {
            data.insert("error".to_owned(), json!(error));
        }
        if let Some(run_after) = &self.run_after {
            data.insert("run_after".to_owned(), json!(run_after));
        }
        data
    }

    fn new(job: &Job, state: JobState, outcome: AttemptOutcome, event: EventKind) -> Self {
        Self {
            state,
            outcome,
            event,
            failures: job.failures,
            run_after: None,
            result: None,
            error: None,
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
    let (state, event) = if job.stop_requested_at.is_some() {
        (JobState::Stopped, EventKind::Stopped)
    } else if job.failures + 1 >= job.max_attempts {
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
        format!("worker{worker} was not heard of for a whole lease; its run was given up"),
    )
}
