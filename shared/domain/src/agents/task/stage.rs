//! Where a task stands, as its row keeps it.

use serde::{Deserialize, Serialize};

use crate::{TaskLeaseId, Timestamp};

/// An agent's hold on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLease {
    pub id: TaskLeaseId,
    pub until: Timestamp,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStage {
    /// Waits for its agent.
    Offered,
    Leased(TaskLease),
    /// Its result is there.
    Done(TaskLeaseId),
    /// Nobody wants it any more.
    Cancelled,
    /// It was taken from its agent.
    Lost,
}

impl TaskStage {
    /// Its name in a row.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Leased(_) => "leased",
            Self::Done(_) => "done",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// The latest lease's id, where it matters.
    pub const fn lease(&self) -> Option<TaskLeaseId> {
        match self {
            Self::Leased(lease) => Some(lease.id),
            Self::Done(id) => Some(*id),
            Self::Offered | Self::Cancelled | Self::Lost => None,
        }
    }

    pub const fn leased_until(&self) -> Option<Timestamp> {
        match self {
            Self::Leased(lease) => Some(lease.until),
            Self::Offered | Self::Done(_) | Self::Cancelled | Self::Lost => None,
        }
    }

    /// Of a stored row; `None` when it makes no sense.
    pub fn from_row(
        name: &str,
        lease: Option<TaskLeaseId>,
        until: Option<Timestamp>,
    ) -> Option<Self> {
        Some(match name {
            "offered" => Self::Offered,
            "leased" => Self::Leased(TaskLease {
                id: lease?,
                until: until?,
            }),
            "done" => Self::Done(lease?),
            "cancelled" => Self::Cancelled,
            "lost" => Self::Lost,
            _ => return None,
        })
    }
}
