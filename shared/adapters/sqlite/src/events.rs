//! What happened to jobs, written in the transaction in which it happened.

use application::ports::StoreError;
use domain::{EventKind, Job, JobId, TenantId, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::SqliteConnection;

use crate::batch::{Hex, json};
use crate::error::failed;

#[derive(Debug, Serialize)]
pub struct EventRow {
    job: Hex,
    seq: i64,
    tenant: Hex,
    at: i64,
    kind: &'static str,
    attempt: u32,
    data: Option<String>,
}

impl EventRow {
    pub fn new(
        tenant: TenantId,
        job: JobId,
        attempt: u32,
        seq: i64,
        kind: EventKind,
        at: Timestamp,
    ) -> Self {
        Self {
            job: Hex(job.as_uuid()),
            seq,
            tenant: Hex(tenant.as_uuid()),
            at: at.timestamp_micros(),
            kind: kind.as_str(),
            attempt,
            data: None,
        }
    }

    pub fn of(job: &Job, seq: i64, kind: EventKind, at: Timestamp) -> Self {
        Self::new(job.tenant, job.id, job.attempt, seq, kind, at)
    }

    pub fn with(mut self, data: &Map<String, Value>) -> Result<Self, StoreError> {
        if !data.is_empty() {
            self.data = Some(json(data)?);
        }
        Ok(self)
    }
}

/// The number of each must follow its job's latest; the caller raises `jobs.event_seq`.
pub async fn write(
    connection: &mut SqliteConnection,
    events: &[EventRow],
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt, data)
         SELECT unhex(value ->> 'job'), value ->> 'seq', unhex(value ->> 'tenant'), value ->> 'at',
                value ->> 'kind', value ->> 'attempt', value ->> 'data'
         FROM jsonb_each(?)",
    )
    .bind(json(events)?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
