use chrono::{DateTime, Utc};
use domain::Attempt;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::job::JobErrorBody;

/// One run of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptBody {
    /// 1 for the first run.
    pub number: u32,
    pub worker_id: Uuid,
    /// The registered agent that did the work, by name; null where none was chosen.
    pub agent: Option<String>,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// `completed`, `partially_completed`, `failed`, `timeout`, `stopped`, `paused`, `handed_back` or `lease_lost`; null
    /// while it runs.
    #[schema(example = "completed")]
    pub outcome: Option<&'static str>,
    pub error: Option<JobErrorBody>,
}

/// All runs of a job, the first one first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptList {
    pub items: Vec<AttemptBody>,
}

impl From<Attempt> for AttemptBody {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            worker_id: attempt.worker.as_uuid(),
            agent: attempt.agent,
            started_at: attempt.started_at,
            finished_at: attempt.finished_at,
            outcome: attempt.outcome.map(domain::AttemptOutcome::as_str),
            error: attempt.error.map(JobErrorBody::from),
        }
    }
}
