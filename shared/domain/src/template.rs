//! What a schedule makes its jobs of: a job without those fields that belong to one moment.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{DependencyRule, JobId, JobSpec, Labels, NewJob, Priority, Timestamp, Violations};

/// Tells of a job which schedule made it.
pub(crate) const METADATA_SCHEDULE: &str = "schedule";
/// And at which tick.
pub(crate) const METADATA_TICK: &str = "schedule_tick";

/// JSON in the stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobTemplate {
    pub title: String,
    pub priority: Priority,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub metadata: Map<String, Value>,
    pub spec: JobSpec,
    pub max_duration_seconds: u32,
    pub max_attempts: u32,
    #[serde(default)]
    pub requires: Labels,
    /// False leaves its jobs `pending` until somebody starts them.
    pub start: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// From when a job is made to when it must have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_after_seconds: Option<u32>,
}

impl JobTemplate {
    /// Of a job as a client describes it. Fields that name one moment or certain other jobs make no sense again and again.
    pub fn of(new: NewJob, deadline_after_seconds: Option<u32>) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let once = [
            ("/run_after", new.run_after.is_some()),
            ("/deadline", new.deadline.is_some()),
            ("/depends_on", !new.depends_on.is_empty()),
        ];
        for (pointer, given) in once {
            if given {
                violations.add(pointer, "is for single jobs, not for a schedule's");
            }
        }
        violations.or(Self {
            title: new.title,
            priority: new.priority,
            tags: new.tags,
            metadata: new.metadata,
            spec: new.spec,
            max_duration_seconds: new.max_duration_seconds,
            max_attempts: new.max_attempts,
            requires: new.requires,
            start: new.start,
            parent: new.parent,
            deadline_after_seconds,
        })
    }

    pub(crate) fn to_new_job(&self, now: Timestamp) -> NewJob {
        let deadline = self
            .deadline_after_seconds
            .map(|after| now + chrono::TimeDelta::seconds(after.into()));
        NewJob {
            title: self.title.clone(),
            priority: self.priority,
            tags: self.tags.clone(),
            metadata: self.metadata.clone(),
            spec: self.spec.clone(),
            max_duration_seconds: self.max_duration_seconds,
            max_attempts: self.max_attempts,
            run_after: None,
            deadline,
            requires: self.requires.clone(),
            depends_on: Vec::new(),
            if_prerequisite_fails: DependencyRule::default(),
            start: self.start,
            parent: self.parent,
        }
    }

    /// Only what a job made of it would not be refused for.
    pub(crate) fn check(&self, violations: &mut Violations) {
        for key in [METADATA_SCHEDULE, METADATA_TICK] {
            if self.metadata.contains_key(key) {
                violations.add(
                    format!("/metadata/{key}"),
                    "is written by the schedule itself; use another key",
                );
            }
        }
    }
}
