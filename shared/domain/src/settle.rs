//! What becomes of a job when one of its runs ends: the one place where the end of a run turns into a state.

mod decide;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    Action, AttemptOutcome, EventKind, InvalidTransition, Job, JobError, JobResult, JobState,
    Timestamp,
};
use decide::decide;

/// How a run ended, as its worker (or, for a dead worker, the reaper) says.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    Completed(JobResult),
    PartiallyCompleted(JobResult),
    /// Trying again would not help.
    Failed(JobError),
    /// The work was done, and is not what was asked for: failed, with what was made.
    Rejected {
        error: JobError,
        result: JobResult,
    },
    /// Trying again may help; `after` overrides the backoff.
    Retry {
        error: JobError,
        after: Option<Duration>,
    },
    TimedOut(JobError),
    Stopped(Option<JobResult>),
    /// It can go on when it is resumed.
    Paused(Option<JobResult>),
    /// It used what it may: stopped, or paused until a person grants more.
    OverBudget {
        stop: bool,
        error: JobError,
        result: Option<JobResult>,
    },
    HandedBack,
    /// It gave way to another run that holds what it needs; not a failure, tried again after `wait`.
    Yielded {
        wait: Duration,
        why: String,
    },
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
    /// Why it is queued again, when that is nobody's failure.
    pub reason: Option<String>,
}

/// Decides what becomes of `job`, which must be running; `jitter` is uniform in 0..1.
///
/// A stop that was asked for wins over being queued again, and so does a pause: such a job never comes back by itself.
pub fn settle(
    job: &Job,
    ending: Ending,
    now: Timestamp,
    jitter: f64,
) -> Result<Settlement, InvalidTransition> {
    let settlement = decide(job, ending, now, jitter).unless_asked(
        job.stop_requested_at.is_some(),
        job.pause_requested_at.is_some(),
    );
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

impl Settlement {
    /// The same, unless the job was asked to stop or to pause after this was decided: then it is not queued again.
    #[must_use]
    pub fn unless_asked(self, stop: bool, pause: bool) -> Self {
        let (state, event) = match self.state {
            JobState::Queued | JobState::Paused if stop => (JobState::Stopped, EventKind::Stopped),
            JobState::Queued if pause => (JobState::Paused, EventKind::Paused),
            _ => return self,
        };
        Self {
            state,
            event,
            run_after: None,
            reason: None,
            ..self
        }
    }

    /// What the event of this settlement says: `error`, `run_after` and `reason`, where there are such.
    pub fn event_data(&self) -> Map<String, Value> {
        let mut data = Map::new();
        if let Some(error) = &self.error {
            data.insert("error".to_owned(), json!(error));
        }
        if let Some(run_after) = &self.run_after {
            data.insert("run_after".to_owned(), json!(run_after));
        }
        if let Some(reason) = &self.reason {
            data.insert("reason".to_owned(), json!(reason));
        }
        data
    }
}
