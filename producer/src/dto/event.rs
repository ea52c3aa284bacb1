use chrono::{DateTime, Utc};
use domain::JobEvent;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// Something that happened to a job. In the stream it is the `data`, with `seq` as the `id` and `kind` as the `event`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobEvent)]
pub(crate) struct EventBody {
    pub job_id: Uuid,
    /// 1, 2, 3, ... without gaps within the job.
    pub seq: i64,
    pub at: DateTime<Utc>,
    /// `created`, `queued`, `started`, `progress`, `checkpoint`, `stop_requested`, `retry_scheduled`, `handed_back`,
    /// `completed`, `partially_completed`, `failed`, `timed_out`, `stopped` or `cancelled`.
    #[schema(example = "started")]
    pub kind: &'static str,
    /// The run it belongs to; 0 before the first.
    pub attempt: u32,
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
}

impl From<JobEvent> for EventBody {
    fn from(event: JobEvent) -> Self {
        Self {
            job_id: event.job.as_uuid(),
            seq: event.seq,
            at: event.at,
            kind: event.kind.as_str(),
            attempt: event.attempt,
            data: event.data,
        }
    }
}
