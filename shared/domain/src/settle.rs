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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        AgentSpec, Claim, JobId, JobSpec, NewJob, Priority, SessionResult, SessionSpec, Status,
        TenantId, WorkerId,
    };

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn running(failures: u32) -> Job {
        let spec = SessionSpec {
            prompt: String::new(),
            agent: AgentSpec::ECHO,
            repository: None,
            keep: Vec::new(),
            demands: Box::default(),
        };
        let new = NewJob {
            title: "a job".to_owned(),
            priority: Priority::Medium,
            tags: Vec::new(),
            metadata: Map::new(),
            spec: JobSpec::Session(spec),
            max_duration_seconds: 60,
            max_attempts: 3,
            run_after: None,
            deadline: None,
            requires: crate::Labels::default(),
            depends_on: Vec::new(),
            if_prerequisite_fails: crate::DependencyRule::Fail,
            start: true,
            parent: None,
        };
        let id = Uuid::from_u128(7);
        let job = new
            .into_job(JobId::from_uuid(id), TenantId::from_uuid(id), NOW)
            .unwrap();
        let claim = Claim {
            worker: WorkerId::from_uuid(id),
            epoch: 1,
        };
        Job {
            status: Status::Running(claim),
            attempt: failures + 1,
            failures,
            ..job
        }
    }

    fn transient() -> Ending {
        Ending::Retry {
            error: JobError::new("COMMAND_TRY_AGAIN", "exit code 75"),
            after: None,
        }
    }

    fn yielded() -> Ending {
        Ending::Yielded {
            wait: Duration::from_secs(2),
            why: "an older run holds it".to_owned(),
        }
    }

    fn settled(job: &Job, ending: Ending) -> Settlement {
        settle(job, ending, NOW, 0.5).unwrap()
    }

    #[test]
    fn a_transient_failure_waits_and_the_last_one_fails_for_good() {
        let second = settled(&running(1), transient());
        assert_eq!((second.state, second.failures), (JobState::Queued, 2));
        assert_eq!(second.run_after, Some(NOW + Duration::from_secs(1)));
        let last = settled(&running(2), transient());
        assert_eq!((last.state, last.failures), (JobState::Failed, 3));
        assert_eq!(last.run_after, None);
        assert!(last.error.is_some());
    }

    #[test]
    fn a_lost_lease_counts_and_a_drained_worker_does_not() {
        let lost = settled(&running(0), Ending::LeaseLost);
        assert_eq!((lost.state, lost.failures), (JobState::Queued, 1));
        assert_eq!(lost.run_after, None);
        assert_eq!(
            settled(&running(2), Ending::LeaseLost).state,
            JobState::Failed
        );
        let drained = settled(&running(2), Ending::HandedBack);
        assert_eq!((drained.state, drained.failures), (JobState::Queued, 2));
    }

    #[test]
    fn a_run_that_gave_way_says_why_and_comes_back() {
        let gave_way = settled(&running(2), yielded());
        assert_eq!((gave_way.state, gave_way.failures), (JobState::Queued, 2));
        assert_eq!(gave_way.run_after, Some(NOW + Duration::from_secs(2)));
        let data = gave_way.event_data();
        assert_eq!(data["reason"], "an older run holds it");
    }

    #[test]
    fn a_stop_wins_over_every_way_back_into_the_queue() {
        let asked = Job {
            stop_requested_at: Some(NOW),
            ..running(0)
        };
        for ending in [
            transient(),
            Ending::LeaseLost,
            Ending::HandedBack,
            yielded(),
        ] {
            let settlement = settled(&asked, ending.clone());
            assert_eq!(settlement.state, JobState::Stopped, "{ending:?}");
            let late = settled(&running(0), ending).unless_asked(true, true);
            assert_eq!(
                late,
                Settlement {
                    failures: late.failures,
                    ..settlement
                }
            );
        }
        let done = Ending::Completed(JobResult::Session(SessionResult::default()));
        assert_eq!(
            settled(&asked, done).unless_asked(true, true).state,
            JobState::Completed
        );
    }

    #[test]
    fn rejected_work_fails_for_good_and_is_kept() {
        let result = JobResult::Session(SessionResult::default());
        let error = JobError::new("VERIFY_FAILED", "exit code 1");
        let rejected = settled(
            &running(0),
            Ending::Rejected {
                error: error.clone(),
                result: result.clone(),
            },
        );
        assert_eq!((rejected.state, rejected.failures), (JobState::Failed, 1));
        assert_eq!(
            (rejected.error, rejected.result),
            (Some(error), Some(result))
        );
    }

    #[test]
    fn a_pause_wins_over_the_queue_and_a_stop_over_a_pause() {
        let asked = Job {
            pause_requested_at: Some(NOW),
            ..running(0)
        };
        for ending in [transient(), Ending::LeaseLost, Ending::HandedBack] {
            let settlement = settled(&asked, ending);
            assert_eq!(settlement.state, JobState::Paused);
            assert_eq!(settlement.run_after, None);
        }
        // The last run that may fail, fails.
        let last = Job {
            failures: 2,
            ..asked.clone()
        };
        assert_eq!(settled(&last, transient()).state, JobState::Failed);
        let over = JobError::new("BUDGET_EXCEEDED", "10 tokens");
        let paused = settled(
            &running(1),
            Ending::OverBudget {
                stop: false,
                error: over.clone(),
                result: None,
            },
        );
        assert_eq!((paused.failures, paused.error.as_ref()), (1, Some(&over)));
        let stopped = paused.unless_asked(true, true);
        assert_eq!(
            (stopped.state, stopped.event),
            (JobState::Stopped, EventKind::Stopped)
        );
    }

    #[test]
    fn only_a_running_job_can_be_settled() {
        for status in [Status::Queued, Status::Completed, Status::Cancelled] {
            let job = Job {
                status,
                ..running(0)
            };
            assert!(
                settle(&job, Ending::LeaseLost, NOW, 0.5).is_err(),
                "{}",
                job.state()
            );
        }
    }
}
