//! What happened to a job, as its events, log, attempts, checkpoints and artifacts tell.

use domain::{
    Artifact, ArtifactId, Attempt, Checkpoint, JobEvent, JobId, LogChunk, LogCursor, TenantId,
};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::PostgresStore;
use crate::error::Failure;
use crate::rows;

const EXISTS: &str = "SELECT FROM jobs WHERE tenant_id = $1 AND id = $2";

/// Rows that belong to a job; `None` when there is no such job. `sql` takes the tenant as $1 and the job as $2.
pub(crate) async fn of_job<T>(
    store: &PostgresStore,
    (tenant, job): (TenantId, JobId),
    sql: &str,
    more: &[&(dyn ToSql + Sync)],
    read: impl Fn(&Row) -> Result<T, Failure>,
) -> Result<Option<Vec<T>>, Failure> {
    let (tenant, job) = (tenant.as_uuid(), job.as_uuid());
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &job];
    params.extend(more);
    let client = store.client().await?;
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &params).await?;
    if rows.is_empty() {
        let exists = client.prepare_cached(EXISTS).await?;
        if client.query_opt(&exists, &[&tenant, &job]).await?.is_none() {
            return Ok(None);
        }
    }
    rows.iter().map(read).collect::<Result<_, _>>().map(Some)
}

const EVENTS: &str = "SELECT job_id, seq, at, kind, attempt, data FROM job_events
    WHERE tenant_id = $1 AND job_id = $2 AND seq > $3 ORDER BY seq LIMIT $4";

pub(crate) async fn events(
    store: &PostgresStore,
    of: (TenantId, JobId),
    after: i64,
    limit: u32,
) -> Result<Option<Vec<JobEvent>>, Failure> {
    let limit = i64::from(limit);
    of_job(store, of, EVENTS, &[&after, &limit], rows::event).await
}

const LOGS: &str = "SELECT attempt, number, at, stream, text FROM job_logs
    WHERE tenant_id = $1 AND job_id = $2 AND (attempt, number) > ($3, $4)
    ORDER BY attempt, number LIMIT $5";

pub(crate) async fn logs(
    store: &PostgresStore,
    of: (TenantId, JobId),
    after: LogCursor,
    limit: u32,
) -> Result<Option<Vec<LogChunk>>, Failure> {
    let (attempt, number) = (rows::int(after.attempt), rows::int(after.number));
    let limit = i64::from(limit);
    of_job(
        store,
        of,
        LOGS,
        &[&attempt, &number, &limit],
        rows::log_chunk,
    )
    .await
}

const LOG_TAIL: &str = "SELECT attempt, number, at, stream, text FROM job_logs
    WHERE tenant_id = $1 AND job_id = $2 ORDER BY attempt DESC, number DESC LIMIT $3";

pub(crate) async fn log_tail(
    store: &PostgresStore,
    of: (TenantId, JobId),
    count: u32,
) -> Result<Option<Vec<LogChunk>>, Failure> {
    let count = i64::from(count);
    let newest_first = of_job(store, of, LOG_TAIL, &[&count], rows::log_chunk).await?;
    Ok(newest_first.map(|mut chunks| {
        chunks.reverse();
        chunks
    }))
}

const ATTEMPTS: &str =
    "SELECT number, worker_id, agent_name, started_at, finished_at, outcome, error FROM job_attempts
    WHERE tenant_id = $1 AND job_id = $2 ORDER BY number";

pub(crate) async fn attempts(
    store: &PostgresStore,
    of: (TenantId, JobId),
) -> Result<Option<Vec<Attempt>>, Failure> {
    of_job(store, of, ATTEMPTS, &[], rows::attempt).await
}

const ARTIFACTS: &str =
    "SELECT id, attempt, name, media_type, bytes, sha256, created_at FROM artifacts
    WHERE tenant_id = $1 AND job_id = $2 ORDER BY attempt, name COLLATE \"C\"";

pub(crate) async fn artifacts(
    store: &PostgresStore,
    of: (TenantId, JobId),
) -> Result<Option<Vec<Artifact>>, Failure> {
    of_job(store, of, ARTIFACTS, &[], rows::artifact).await
}

const ARTIFACT: &str =
    "SELECT id, attempt, name, media_type, bytes, sha256, created_at FROM artifacts
    WHERE tenant_id = $1 AND job_id = $2 AND id = $3";

pub(crate) async fn artifact(
    store: &PostgresStore,
    of: (TenantId, JobId),
    artifact: ArtifactId,
) -> Result<Option<Artifact>, Failure> {
    let found = of_job(store, of, ARTIFACT, &[&artifact.as_uuid()], rows::artifact).await?;
    Ok(found.and_then(|mut artifacts| artifacts.pop()))
}

const LATEST_CHECKPOINT: &str = "SELECT number, attempt, at, data FROM checkpoints
    WHERE tenant_id = $1 AND job_id = $2 ORDER BY number DESC LIMIT 1";

pub(crate) async fn latest_checkpoint(
    store: &PostgresStore,
    of: (TenantId, JobId),
) -> Result<Option<Checkpoint>, Failure> {
    let found = of_job(store, of, LATEST_CHECKPOINT, &[], rows::checkpoint).await?;
    Ok(found.and_then(|mut checkpoints| checkpoints.pop()))
}
