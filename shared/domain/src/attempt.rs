//! One run of a job, kept when the run is over.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{JobError, Timestamp, WorkerId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 for the first run.
    pub number: u32,
    pub worker: WorkerId,
    /// The registered agent that did the work, of a session that was routed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// `None` while it runs.
    pub outcome: Option<AttemptOutcome>,
    pub error: Option<JobError>,
}

/// How a run ended. A job's state follows from it and from the attempts left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    Completed,
    PartiallyCompleted,
    Failed,
    Timeout,
    Stopped,
    /// It was paused, and can go on.
    Paused,
    /// Its worker was drained and gave it back.
    HandedBack,
    /// Its worker died, or was not heard of for a whole lease.
    LeaseLost,
}

impl AttemptOutcome {
    pub const ALL: [Self; 8] = [
        Self::Completed,
        Self::PartiallyCompleted,
        Self::Failed,
        Self::Timeout,
        Self::Stopped,
        Self::Paused,
        Self::HandedBack,
        Self::LeaseLost,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::PartiallyCompleted => "partially_completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::HandedBack => "handed_back",
            Self::LeaseLost => "lease_lost",
        }
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AttemptOutcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not an outcome of an attempt"))
    }
}
