//! What requests for all kinds of jobs share.

use std::collections::BTreeMap;

use application::use_cases::Offer;
use domain::{DependencyRule, JobId, Labels, NewJob, Priority};
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

/// What becomes of a job when one that it waits for does not end well.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IfPrerequisiteFails)]
pub(crate) enum RuleBody {
    /// It fails too, with `PREREQUISITE_FAILED`.
    #[default]
    Fail,
    /// It is cancelled.
    Skip,
}

impl From<RuleBody> for DependencyRule {
    fn from(rule: RuleBody) -> Self {
        match rule {
            RuleBody::Fail => Self::Fail,
            RuleBody::Skip => Self::Skip,
        }
    }
}

impl From<DependencyRule> for RuleBody {
    fn from(rule: DependencyRule) -> Self {
        match rule {
            DependencyRule::Fail => Self::Fail,
            DependencyRule::Skip => Self::Skip,
        }
    }
}

pub(crate) fn labels(requires: BTreeMap<String, String>) -> Labels {
    Labels(requires)
}

/// The job with its prerequisites: ids are of stored jobs, anything else is a name in the same request.
pub(crate) fn offer(mut job: NewJob, name: Option<String>, depends_on: Vec<String>) -> Offer {
    let mut after = Vec::new();
    for named in depends_on {
        match named.parse::<JobId>() {
            Ok(id) => job.depends_on.push(id),
            Err(_) => after.push(named),
        }
    }
    Offer { job, name, after }
}
