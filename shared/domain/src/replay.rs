//! Dead letters: jobs that failed for good, grouped by what their errors have in common, and their replay: all that match
//! are queued again, a batch at a time, so that it can be watched and called off.

use serde::{Deserialize, Serialize};

use crate::{JobId, JobKind, ReplayId, TenantId, Timestamp, Violations};

/// Which dead letters; all where nothing is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterFilter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<JobKind>,
    /// Of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// With this error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl DeadLetterFilter {
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Violations> {
        let mut violations = Violations::default();
        if let Some(fingerprint) = &self.fingerprint {
            violations.text("/fingerprint", fingerprint, 1, 1_000);
        }
        if let Some(code) = &self.code {
            violations.text("/code", code, 1, 100);
        }
        violations.or(())
    }
}

/// Dead letters that most likely have the same cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterGroup {
    pub kind: JobKind,
    /// The error without what differs from job to job; its code stands before the colon.
    pub fingerprint: String,
    pub count: u32,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// The one that failed last.
    pub latest: JobId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    Running,
    Completed,
    /// Called off: what was queued until then stays queued.
    Aborted,
}

/// The text names no state of a replay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a state of a replay; use running, completed or aborted")]
pub struct UnknownReplayState(pub String);

impl ReplayState {
    pub const ALL: [Self; 3] = [Self::Running, Self::Completed, Self::Aborted];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
        }
    }
}

impl std::str::FromStr for ReplayState {
    type Err = UnknownReplayState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownReplayState(text.chars().take(64).collect()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    pub id: ReplayId,
    pub tenant: TenantId,
    pub filter: DeadLetterFilter,
    pub state: ReplayState,
    /// Dead letters that matched when it was asked for.
    pub matched: u32,
    /// Queued again so far.
    pub replayed: u32,
    /// Looked at and left: somebody else had retried or deleted them meanwhile.
    pub skipped: u32,
    /// The last job looked at; they are taken in the order of their ids.
    pub cursor: Option<JobId>,
    /// Why it does not go on at the moment: the tenant's backlog is full, its queue is draining.
    pub held_up: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

impl Replay {
    /// A replay that has not begun.
    pub fn new(
        id: ReplayId,
        tenant: TenantId,
        filter: DeadLetterFilter,
        matched: u32,
        now: Timestamp,
    ) -> Self {
        let done = matched == 0;
        Self {
            id,
            tenant,
            filter,
            state: if done {
                ReplayState::Completed
            } else {
                ReplayState::Running
            },
            matched,
            replayed: 0,
            skipped: 0,
            cursor: None,
            held_up: None,
            created_at: now,
            updated_at: now,
            finished_at: done.then_some(now),
        }
    }
}
