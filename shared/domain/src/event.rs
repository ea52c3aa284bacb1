//! What happened to a job, in order: the source of live events and of the timeline.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{JobId, Timestamp};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    pub job: JobId,
    /// 1, 2, 3, ... without gaps within one job: where a reader stopped is where it resumes.
    pub seq: i64,
    pub at: Timestamp,
    pub kind: EventKind,
    /// The run it belongs to; 0 before the first.
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Created,
    Queued,
    Started,
    Progress,
    Checkpoint,
    StopRequested,
    PauseRequested,
    Paused,
    RetryScheduled,
    HandedBack,
    Completed,
    PartiallyCompleted,
    Failed,
    TimedOut,
    Stopped,
    Cancelled,
}

impl EventKind {
    pub const ALL: [Self; 16] = [
        Self::Created,
        Self::Queued,
        Self::Started,
        Self::Progress,
        Self::Checkpoint,
        Self::StopRequested,
        Self::PauseRequested,
        Self::Paused,
        Self::RetryScheduled,
        Self::HandedBack,
        Self::Completed,
        Self::PartiallyCompleted,
        Self::Failed,
        Self::TimedOut,
        Self::Stopped,
        Self::Cancelled,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Progress => "progress",
            Self::Checkpoint => "checkpoint",
            Self::StopRequested => "stop_requested",
            Self::PauseRequested => "pause_requested",
            Self::Paused => "paused",
            Self::RetryScheduled => "retry_scheduled",
            Self::HandedBack => "handed_back",
            Self::Completed => "completed",
            Self::PartiallyCompleted => "partially_completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
        }
    }

    /// True when a reader who only wants to know the end may go.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed
                | Self::PartiallyCompleted
                | Self::Failed
                | Self::TimedOut
                | Self::Stopped
                | Self::Cancelled
        )
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a kind of event"))
    }
}
