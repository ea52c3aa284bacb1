//! What a client hands in, checked before anything is stored.

use serde_json::{Map, Value};

use crate::{Job, JobId, JobSpec, Priority, Status, TenantId, Timestamp, Violations};

const TITLE_MAX: usize = 200;
const TAGS_MAX: usize = 20;
const TAG_MAX: usize = 64;
const METADATA_BYTES_MAX: usize = 16 * 1024;
const ATTEMPTS_MAX: u64 = 100;
/// A week: longer than that, a job should checkpoint and be resumed.
const DURATION_SECONDS_MAX: u64 = 7 * 24 * 3600;

#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub title: String,
    pub priority: Priority,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
    pub spec: JobSpec,
    /// Wall-clock limit of one run.
    pub max_duration_seconds: u32,
    /// How many runs may fail before the job does.
    pub max_attempts: u32,
    /// Not before this instant.
    pub run_after: Option<Timestamp>,
    /// False leaves the job `pending` until it is started.
    pub start: bool,
    pub parent: Option<JobId>,
}

impl NewJob {
    /// The job as it will be stored, or everything that is wrong with it.
    pub fn into_job(self, id: JobId, tenant: TenantId, now: Timestamp) -> Result<Job, Violations> {
        let mut violations = Violations::default();
        self.check(&mut violations);
        violations.or(())?;
        Ok(Job {
            id,
            tenant,
            title: self.title,
            priority: self.priority,
            tags: self.tags,
            metadata: self.metadata,
            spec: self.spec,
            status: if self.start {
                Status::Queued
            } else {
                Status::Pending
            },
            attempt: 0,
            failures: 0,
            max_attempts: self.max_attempts,
            max_duration_seconds: self.max_duration_seconds,
            run_after: self.run_after,
            fence: 0,
            progress: None,
            result: None,
            error: None,
            parent: self.parent,
            stop_requested_at: None,
            created_at: now,
            updated_at: now,
            queued_at: self.start.then_some(now),
            started_at: None,
            finished_at: None,
        })
    }

    fn check(&self, violations: &mut Violations) {
        violations.text("/title", &self.title, 1, TITLE_MAX);
        if self.tags.len() > TAGS_MAX {
            violations.add(
                "/tags",
                format!(
                    "has {} tags; at most {TAGS_MAX} are allowed",
                    self.tags.len()
                ),
            );
        }
        for (index, tag) in self.tags.iter().enumerate() {
            violations.text(&format!("/tags/{index}"), tag, 1, TAG_MAX);
        }
        let metadata_bytes = serde_json::to_string(&self.metadata).map_or(0, |text| text.len());
        if metadata_bytes > METADATA_BYTES_MAX {
            violations.add(
                "/metadata",
                format!("has {metadata_bytes} bytes; at most {METADATA_BYTES_MAX} are allowed"),
            );
        }
        violations.range("/max_attempts", self.max_attempts.into(), 1, ATTEMPTS_MAX);
        violations.range(
            "/max_duration_seconds",
            self.max_duration_seconds.into(),
            1,
            DURATION_SECONDS_MAX,
        );
        self.spec.check(violations);
    }
}
