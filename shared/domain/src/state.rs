//! The twelve states of a job and the one table that says how it may move between them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a state; [`crate::Status`] carries the data that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Created and not started, or waiting for its prerequisites.
    Pending,
    /// Waits for a slot of its tenant on a worker.
    Queued,
    /// A worker runs it under a lease.
    Running,
    /// Interrupted on request; can go on.
    Paused,
    /// Runs on with less than it asked for.
    Degraded,
    Completed,
    PartiallyCompleted,
    Failed,
    Timeout,
    Stopped,
    Cancelled,
    /// Its tenant or repository is gone; kept for the record.
    Orphaned,
}

/// The text names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a state; use one of {all}", all = JobState::ALL.map(JobState::as_str).join(", "))]
pub struct UnknownState(pub String);

impl JobState {
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Queued,
        Self::Running,
        Self::Paused,
        Self::Degraded,
        Self::Completed,
        Self::PartiallyCompleted,
        Self::Failed,
        Self::Timeout,
        Self::Stopped,
        Self::Cancelled,
        Self::Orphaned,
    ];

    /// The stable name used in the API, the stores and the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Degraded => "degraded",
            Self::Completed => "completed",
            Self::PartiallyCompleted => "partially_completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
            Self::Orphaned => "orphaned",
        }
    }

    /// True when the job will not move again by itself. A failed or timed out job may still be retried by a person.
    pub const fn is_finished(self) -> bool {
        matches!(
            self,
            Self::Completed
                | Self::PartiallyCompleted
                | Self::Failed
                | Self::Timeout
                | Self::Stopped
                | Self::Cancelled
                | Self::Orphaned
        )
    }

    /// True when the job holds one of its tenant's slots.
    pub const fn holds_slot(self) -> bool {
        matches!(self, Self::Running | Self::Degraded)
    }

    /// What may be done to a job in this state.
    pub fn allowed(self) -> Vec<Action> {
        Action::ALL
            .into_iter()
            .filter(|action| action.from().contains(&self))
            .collect()
    }

    /// The state after `action`, or why that cannot be.
    pub fn after(self, action: Action) -> Result<Self, InvalidTransition> {
        if action.from().contains(&self) {
            Ok(action.to())
        } else {
            Err(InvalidTransition { from: self, action })
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.chars().take(64).collect()))
    }
}

/// Everything that can happen to a job. Each action has one target state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Start,
    Claim,
    Cancel,
    Stop,
    Pause,
    Resume,
    Retry,
    /// The run ended early through no decision of a person: lease lost, drained, or a failure that will be tried again.
    Requeue,
    Degrade,
    Recover,
    Complete,
    PartiallyComplete,
    Fail,
    TimeOut,
}

impl Action {
    pub const ALL: [Self; 14] = [
        Self::Start,
        Self::Claim,
        Self::Cancel,
        Self::Stop,
        Self::Pause,
        Self::Resume,
        Self::Retry,
        Self::Requeue,
        Self::Degrade,
        Self::Recover,
        Self::Complete,
        Self::PartiallyComplete,
        Self::Fail,
        Self::TimeOut,
    ];

    /// True where a person wants more work of a job that may have used up its budget: the same is granted once more.
    pub const fn grants(self) -> bool {
        matches!(self, Self::Resume | Self::Retry)
    }

    /// The states in which the action is allowed.
    pub const fn from(self) -> &'static [JobState] {
        use JobState::{Degraded, Failed, Paused, Pending, Queued, Running, Stopped, Timeout};
        match self {
            Self::Start => &[Pending],
            Self::Claim => &[Pending, Queued],
            Self::Cancel => &[Pending, Queued, Paused],
            Self::Stop => &[Running, Paused, Degraded],
            Self::Pause
            | Self::Degrade
            | Self::Requeue
            | Self::PartiallyComplete
            | Self::TimeOut => &[Running],
            Self::Resume => &[Paused],
            Self::Retry => &[Failed, Timeout, Stopped],
            Self::Recover => &[Degraded],
            Self::Complete => &[Running, Degraded],
            // One that is paused fails when its deadline passes.
            Self::Fail => &[Pending, Queued, Running, Paused, Degraded],
        }
    }

    /// The state that the action leads to.
    pub const fn to(self) -> JobState {
        match self {
            Self::Start | Self::Resume | Self::Retry | Self::Requeue => JobState::Queued,
            Self::Claim | Self::Recover => JobState::Running,
            Self::Cancel => JobState::Cancelled,
            Self::Stop => JobState::Stopped,
            Self::Pause => JobState::Paused,
            Self::Degrade => JobState::Degraded,
            Self::Complete => JobState::Completed,
            Self::PartiallyComplete => JobState::PartiallyCompleted,
            Self::Fail => JobState::Failed,
            Self::TimeOut => JobState::Timeout,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Claim => "claim",
            Self::Cancel => "cancel",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Requeue => "requeue",
            Self::Degrade => "degrade",
            Self::Recover => "recover",
            Self::Complete => "complete",
            Self::PartiallyComplete => "partially_complete",
            Self::Fail => "fail",
            Self::TimeOut => "time_out",
        }
    }

    /// Actions that a person or client may ask for; the rest is what runs report.
    pub const fn is_steering(self) -> bool {
        matches!(
            self,
            Self::Start | Self::Cancel | Self::Stop | Self::Pause | Self::Resume | Self::Retry
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The job's state does not allow what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action} a job that is {from}")]
pub struct InvalidTransition {
    pub from: JobState,
    pub action: Action,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The agreed table, written out independently of the code above.
    const TABLE: &[(&str, &[&str])] = &[
        ("pending", &["queued", "running", "cancelled", "failed"]),
        ("queued", &["running", "cancelled", "failed"]),
        (
            "running",
            &[
                "completed",
                "partially_completed",
                "failed",
                "timeout",
                "paused",
                "stopped",
                "degraded",
                "queued",
            ],
        ),
        ("paused", &["queued", "stopped", "cancelled", "failed"]),
        ("degraded", &["running", "failed", "completed", "stopped"]),
        ("failed", &["queued"]),
        ("timeout", &["queued"]),
        ("stopped", &["queued"]),
        ("completed", &[]),
        ("partially_completed", &[]),
        ("cancelled", &[]),
        ("orphaned", &[]),
    ];

    #[test]
    fn every_state_and_action_agrees_with_the_table() {
        for (from, targets) in TABLE {
            let from: JobState = from.parse().unwrap();
            let mut reached: Vec<&str> = Action::ALL
                .into_iter()
                .filter_map(|action| from.after(action).ok())
                .map(JobState::as_str)
                .collect();
            reached.sort_unstable();
            reached.dedup();
            let mut expected = targets.to_vec();
            expected.sort_unstable();
            assert_eq!(reached, expected, "from {from}");
        }
        assert_eq!(TABLE.len(), JobState::ALL.len());
    }

    #[test]
    fn what_is_allowed_is_what_succeeds() {
        for state in JobState::ALL {
            for action in Action::ALL {
                assert_eq!(
                    state.allowed().contains(&action),
                    state.after(action).is_ok()
                );
            }
        }
    }

    #[test]
    fn names_go_there_and_back() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse::<JobState>().unwrap(), state);
        }
        let error = "done".parse::<JobState>().unwrap_err().to_string();
        assert!(error.contains("completed"), "{error}");
    }
}
