//! The rows that reports make, a statement a table.

use application::ports::StoreError;
use domain::{JobId, LogChunk, TenantId, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::batch::{Hex, json, text};
use crate::error::failed;

#[derive(Debug, Serialize)]
pub(super) struct JobRow {
    pub job: Hex,
    pub event_seq: i64,
    pub progress: Option<String>,
    pub spent: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct CheckpointRow {
    pub job: Hex,
    pub tenant: Hex,
    pub number: u32,
    pub attempt: u32,
    pub data: String,
}

#[derive(Debug, Serialize)]
pub(super) struct LogRow {
    job: Hex,
    tenant: Hex,
    attempt: u32,
    number: u32,
    at: i64,
    stream: &'static str,
    text: String,
}

impl LogRow {
    pub fn new(tenant: TenantId, job: JobId, chunk: &LogChunk) -> Self {
        Self {
            job: Hex(job.as_uuid()),
            tenant: Hex(tenant.as_uuid()),
            attempt: chunk.cursor.attempt,
            number: chunk.cursor.number,
            at: chunk.at.timestamp_micros(),
            stream: chunk.stream.as_str(),
            text: text(&chunk.text),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ArtifactRow {
    pub id: Hex,
    pub job: Hex,
    pub tenant: Hex,
    pub attempt: u32,
    pub name: String,
    pub media_type: String,
    pub bytes: u64,
    pub sha256: String,
    pub created_at: i64,
}

pub(super) const UPDATE_JOBS: &str = "
    UPDATE jobs SET event_seq = r.event_seq, progress = coalesce(r.progress, jobs.progress),
                    spent = coalesce(r.spent, jobs.spent), updated_at = ?2
    FROM (SELECT unhex(value ->> 'job') AS id, value ->> 'event_seq' AS event_seq, value ->> 'progress' AS progress,
                 value ->> 'spent' AS spent
          FROM jsonb_each(?1)) AS r
    WHERE jobs.id = r.id";

pub(super) const INSERT_CHECKPOINTS: &str = "
    INSERT INTO checkpoints (job_id, number, tenant_id, attempt, at, data)
    SELECT unhex(value ->> 'job'), value ->> 'number', unhex(value ->> 'tenant'), value ->> 'attempt', ?2,
           value ->> 'data'
    FROM jsonb_each(?1)";

pub(super) const DELETE_CHECKPOINTS: &str = "
    DELETE FROM checkpoints AS c
    WHERE c.job_id IN (SELECT unhex(value) FROM json_each(?1))
      AND c.number <= (SELECT max(number) FROM checkpoints WHERE job_id = c.job_id) - ?2";

// A report whose answer was lost is sent again: what is there already is left as it is.
pub(super) const INSERT_LOGS: &str = "
    INSERT INTO job_logs (job_id, attempt, number, tenant_id, at, stream, text)
    SELECT unhex(value ->> 'job'), value ->> 'attempt', value ->> 'number', unhex(value ->> 'tenant'),
           value ->> 'at', value ->> 'stream', value ->> 'text'
    FROM jsonb_each(?1) WHERE ?2 IS NOT NULL
    ON CONFLICT (job_id, attempt, number) DO NOTHING";

pub(super) const UPSERT_ARTIFACTS: &str = "
    INSERT INTO artifacts (id, job_id, tenant_id, attempt, name, media_type, bytes, sha256, created_at)
    SELECT unhex(value ->> 'id'), unhex(value ->> 'job'), unhex(value ->> 'tenant'), value ->> 'attempt',
           value ->> 'name', value ->> 'media_type', value ->> 'bytes', value ->> 'sha256', value ->> 'created_at'
    FROM jsonb_each(?1) WHERE ?2 IS NOT NULL
    ON CONFLICT (job_id, attempt, name) DO UPDATE
    SET id = excluded.id, media_type = excluded.media_type, bytes = excluded.bytes, sha256 = excluded.sha256,
        created_at = excluded.created_at";

/// What runs said last, with their ends; they are held.
pub async fn add_logs(
    connection: &mut SqliteConnection,
    logs: &[(TenantId, JobId, LogChunk)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<LogRow> = logs
        .iter()
        .map(|(tenant, job, chunk)| LogRow::new(*tenant, *job, chunk))
        .collect();
    each(connection, &rows, now, INSERT_LOGS).await
}

/// Runs a statement over the rows (`?1`) at an instant (`?2`).
pub(super) async fn each<T: Serialize>(
    connection: &mut SqliteConnection,
    rows: &[T],
    now: Timestamp,
    statement: &'static str,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(statement)
        .bind(json(rows)?)
        .bind(now.timestamp_micros())
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
