//! What happened in a job's life: events, logs, runs, files, checkpoints. Nothing here writes.
//!
//! Rows say nothing about a job of another tenant: an empty answer is given only where the job is the tenant's own.

use application::ports::StoreError;
use domain::{
    Artifact, ArtifactId, Attempt, Checkpoint, JobEvent, JobId, LogChunk, LogCursor, TenantId,
};
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::{corrupt, failed};
use crate::read::exists;
use crate::rows::Reader;

/// What one job has, or `None` where the tenant has no such job.
pub(crate) async fn of_job<T>(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
    rows: Result<Vec<SqliteRow>, sqlx::Error>,
    read: fn(&Reader<'_>) -> Result<T, StoreError>,
) -> Result<Option<Vec<T>>, StoreError> {
    let rows = rows.map_err(failed)?;
    if rows.is_empty() && !exists(store, tenant, job).await? {
        return Ok(None);
    }
    rows.iter()
        .map(|row| read(&Reader(row)))
        .collect::<Result<_, _>>()
        .map(Some)
}

pub async fn events(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
    after: i64,
    limit: u32,
) -> Result<Option<Vec<JobEvent>>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM job_events WHERE job_id = ? AND tenant_id = ? AND seq > ? ORDER BY seq LIMIT +?",
    )
    .bind(job.as_uuid())
    .bind(tenant.as_uuid())
    .bind(after)
    .bind(limit)
    .fetch_all(&store.readers)
    .await;
    of_job(store, tenant, job, rows, event).await
}

fn event(row: &Reader<'_>) -> Result<JobEvent, StoreError> {
    Ok(JobEvent {
        job: row.job_id("job_id")?,
        seq: row.get("seq")?,
        at: row.time("at")?,
        kind: row.name("kind")?,
        attempt: row.count("attempt")?,
        data: row.maybe_json("data")?.unwrap_or_default(),
    })
}

pub async fn logs(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
    after: LogCursor,
    limit: u32,
) -> Result<Option<Vec<LogChunk>>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM job_logs
         WHERE job_id = ? AND tenant_id = ? AND (attempt, number) > (?, ?)
         ORDER BY attempt, number LIMIT +?",
    )
    .bind(job.as_uuid())
    .bind(tenant.as_uuid())
    .bind(after.attempt)
    .bind(after.number)
    .bind(limit)
    .fetch_all(&store.readers)
    .await;
    of_job(store, tenant, job, rows, chunk).await
}

pub async fn log_tail(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
    count: u32,
) -> Result<Option<Vec<LogChunk>>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM (SELECT * FROM job_logs WHERE job_id = ? AND tenant_id = ?
                        ORDER BY attempt DESC, number DESC LIMIT +?)
         ORDER BY attempt, number",
    )
    .bind(job.as_uuid())
    .bind(tenant.as_uuid())
    .bind(count)
    .fetch_all(&store.readers)
    .await;
    of_job(store, tenant, job, rows, chunk).await
}

fn chunk(row: &Reader<'_>) -> Result<LogChunk, StoreError> {
    Ok(LogChunk {
        cursor: LogCursor {
            attempt: row.count("attempt")?,
            number: row.count("number")?,
        },
        at: row.time("at")?,
        stream: row.name("stream")?,
        text: row.get("text")?,
    })
}

pub async fn attempts(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
) -> Result<Option<Vec<Attempt>>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM job_attempts WHERE job_id = ? AND tenant_id = ? ORDER BY number",
    )
    .bind(job.as_uuid())
    .bind(tenant.as_uuid())
    .fetch_all(&store.readers)
    .await;
    of_job(store, tenant, job, rows, attempt).await
}

fn attempt(row: &Reader<'_>) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        number: row.count("number")?,
        worker: row.worker_id("worker_id")?,
        agent: row.get("agent_name")?,
        started_at: row.time("started_at")?,
        finished_at: row.maybe_time("finished_at")?,
        outcome: row
            .get::<Option<&str>>("outcome")?
            .map(|name| name.parse().map_err(corrupt))
            .transpose()?,
        error: row.maybe_json("error")?,
    })
}

pub async fn artifacts(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
) -> Result<Option<Vec<Artifact>>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM artifacts WHERE job_id = ? AND tenant_id = ? ORDER BY attempt, name",
    )
    .bind(job.as_uuid())
    .bind(tenant.as_uuid())
    .fetch_all(&store.readers)
    .await;
    of_job(store, tenant, job, rows, kept).await
}

pub async fn artifact(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
    id: ArtifactId,
) -> Result<Option<Artifact>, StoreError> {
    sqlx::query("SELECT * FROM artifacts WHERE id = ? AND job_id = ? AND tenant_id = ?")
        .bind(id.as_uuid())
        .bind(job.as_uuid())
        .bind(tenant.as_uuid())
        .fetch_optional(&store.readers)
        .await
        .map_err(failed)?
        .map(|row| kept(&Reader(&row)))
        .transpose()
}

fn kept(row: &Reader<'_>) -> Result<Artifact, StoreError> {
    let bytes: i64 = row.get("bytes")?;
    Ok(Artifact {
        id: row.artifact_id("id")?,
        attempt: row.count("attempt")?,
        name: row.get("name")?,
        media_type: row.get("media_type")?,
        bytes: u64::try_from(bytes).map_err(corrupt)?,
        sha256: row.get("sha256")?,
        created_at: row.time("created_at")?,
    })
}

pub async fn latest_checkpoint(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
) -> Result<Option<Checkpoint>, StoreError> {
    sqlx::query(
        "SELECT * FROM checkpoints WHERE job_id = ? AND tenant_id = ? ORDER BY number DESC LIMIT 1",
    )
    .bind(job.as_uuid())
    .bind(tenant.as_uuid())
    .fetch_optional(&store.readers)
    .await
    .map_err(failed)?
    .map(|row| {
        let row = Reader(&row);
        Ok(Checkpoint {
            number: row.count("number")?,
            attempt: row.count("attempt")?,
            at: row.time("at")?,
            data: row.json("data")?,
        })
    })
    .transpose()
}
