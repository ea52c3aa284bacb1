//! What requests for all kinds of jobs share.

use domain::Priority;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) const DEFAULT_DURATION_SECONDS: u32 = 3600;
pub(crate) const DEFAULT_ATTEMPTS: u32 = 3;

pub(crate) const fn default_duration() -> u32 {
    DEFAULT_DURATION_SECONDS
}

pub(crate) const fn default_attempts() -> u32 {
    DEFAULT_ATTEMPTS
}

pub(crate) const fn default_start() -> bool {
    true
}

/// How urgent a job is among its own tenant's jobs.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Priority)]
pub(crate) enum PriorityBody {
    Critical,
    High,
    #[default]
    Medium,
    Low,
    Deferred,
}

impl From<PriorityBody> for Priority {
    fn from(priority: PriorityBody) -> Self {
        match priority {
            PriorityBody::Critical => Self::Critical,
            PriorityBody::High => Self::High,
            PriorityBody::Medium => Self::Medium,
            PriorityBody::Low => Self::Low,
            PriorityBody::Deferred => Self::Deferred,
        }
    }
}

impl From<Priority> for PriorityBody {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Critical => Self::Critical,
            Priority::High => Self::High,
            Priority::Medium => Self::Medium,
            Priority::Low => Self::Low,
            Priority::Deferred => Self::Deferred,
        }
    }
}
