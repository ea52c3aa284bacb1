//! Everything that decides when a job runs, as it is at one instant.

use application::ports::{Holder, StoreError, Waiting};
use chrono::TimeDelta;
use domain::{Job, JobId, JobKind, JobState, Labels, QueueKey, TenantId, Timestamp};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::batch::ids;
use crate::error::{corrupt, failed};
use crate::rows::{Reader, job};
use crate::slots::snapshot;

pub async fn waiting(
    store: &SqliteStore,
    tenant: TenantId,
    id: JobId,
    now: Timestamp,
) -> Result<Option<Waiting>, StoreError> {
    let mut tx = store.readers.begin().await.map_err(failed)?;
    let row = sqlx::query("SELECT * FROM jobs WHERE id = ? AND tenant_id = ?")
        .bind(id.as_uuid())
        .bind(tenant.as_uuid())
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
    let Some(row) = row else {
        return Ok(None);
    };
    let job = job(&row)?;
    let queue = job.queue();
    let requires = job.requires.clone().without_agent();
    let slot = sqlx::query(
        "SELECT s.*, t.weight, t.active FROM tenant_slots AS s JOIN tenants AS t ON t.id = s.tenant_id
         WHERE s.tenant_id = ? AND s.kind = ?",
    )
    .bind(tenant.as_uuid())
    .bind(queue.kind.as_str())
    .fetch_optional(&mut *tx)
    .await
    .map_err(failed)?
    .ok_or_else(|| corrupt(format!("tenant {tenant} has no slots of kind {}", queue.kind)))?;
    let (workers, free_worker_slots) = workers(&mut tx, queue.kind, &requires, now).await?;
    let flags = Reader(&slot);
    let waiting = Waiting {
        slots: snapshot(&slot)?,
        tenant_active: flags.get("active")?,
        queue_paused: flags.get("paused")?,
        draining: flags.get("draining")?,
        ahead: ahead(&mut tx, &job).await?,
        holders: holders(&mut tx, queue).await?,
        prerequisites: prerequisites(&mut tx, &job).await?,
        workers,
        free_worker_slots,
        recent_seconds: recent_seconds(&mut tx, queue).await?,
        job,
    };
    tx.commit().await.map_err(failed)?;
    Ok(Some(waiting))
}

/// Labelled jobs are before a labelled job only: plain jobs get free slots first.
async fn ahead(connection: &mut SqliteConnection, job: &Job) -> Result<u32, StoreError> {
    let Some(turn) = job.turn.filter(|_| job.state() == JobState::Queued) else {
        return Ok(0);
    };
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM (
                     SELECT 1 FROM jobs INDEXED BY jobs_turns
                     WHERE state = 'queued' AND due AND requires IS NULL AND tenant_id = ?1 AND kind = ?2
                       AND (turn, id) < (?3, ?4) LIMIT +?5))
              + (SELECT count(*) FROM (
                     SELECT 1 FROM jobs INDEXED BY jobs_labelled
                     WHERE state = 'queued' AND due AND requires IS NOT NULL AND tenant_id = ?1 AND kind = ?2
                       AND (turn, id) < (?3, ?4) AND ?6 LIMIT +?5)) AS ahead",
    )
    .bind(job.tenant.as_uuid())
    .bind(job.kind().as_str())
    .bind(turn.timestamp_micros())
    .bind(job.id.as_uuid())
    .bind(Waiting::COUNTED)
    .bind(!job.requires.is_empty())
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Ok(Reader(&row).count("ahead")?.min(Waiting::COUNTED))
}

async fn holders(
    connection: &mut SqliteConnection,
    queue: QueueKey,
) -> Result<Vec<Holder>, StoreError> {
    sqlx::query(
        "SELECT id, title, worker_id, started_at FROM jobs INDEXED BY jobs_by_state
         WHERE tenant_id = ? AND state IN ('running', 'degraded') AND kind = ?
         ORDER BY started_at, id LIMIT +?",
    )
    .bind(queue.tenant.as_uuid())
    .bind(queue.kind.as_str())
    .bind(Waiting::HOLDERS)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| {
        let row = Reader(row);
        Ok(Holder {
            job: row.job_id("id")?,
            title: row.get("title")?,
            worker: row.worker_id("worker_id")?,
            started_at: row.time("started_at")?,
        })
    })
    .collect()
}

/// A job that was started by a person waits for its prerequisites no longer.
async fn prerequisites(
    connection: &mut SqliteConnection,
    job: &Job,
) -> Result<Vec<(JobId, JobState)>, StoreError> {
    if job.state() != JobState::Pending || job.depends_on.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(
        "SELECT id, state FROM jobs
         WHERE id IN (SELECT unhex(value) FROM json_each(?)) AND state NOT IN ('completed', 'partially_completed')
         ORDER BY id LIMIT +?",
    )
    .bind(ids(job.depends_on.iter().map(|id| id.as_uuid()))?)
    .bind(Waiting::HOLDERS)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| {
        let row = Reader(row);
        Ok((row.job_id("id")?, row.name("state")?))
    })
    .collect()
}

/// How many live workers take such jobs, and how many slots they have free.
async fn workers(
    connection: &mut SqliteConnection,
    kind: JobKind,
    requires: &Labels,
    now: Timestamp,
) -> Result<(u32, u32), StoreError> {
    let rows = sqlx::query(
        "SELECT kinds, labels, capacity, (SELECT count(*) FROM jobs INDEXED BY jobs_running
                                          WHERE worker_id = w.id AND state IN ('running', 'degraded')) AS running
         FROM workers AS w WHERE lease_until > ? AND NOT draining",
    )
    .bind(now.timestamp_micros())
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let (mut workers, mut free) = (0_u32, 0_u32);
    for row in &rows {
        let row = Reader(row);
        let takes = row.json::<Vec<JobKind>>("kinds")?.contains(&kind);
        if takes && requires.are_met_by(&row.json("labels")?) {
            workers += 1;
            let has_free = row.count("capacity")?.saturating_sub(row.count("running")?);
            free = free.saturating_add(has_free);
        }
    }
    Ok((workers, free))
}

async fn recent_seconds(
    connection: &mut SqliteConnection,
    queue: QueueKey,
) -> Result<Vec<f64>, StoreError> {
    // The latest by their ids are found by an index, and their runs are the latest ones nearly always.
    sqlx::query(
        "SELECT finished_at - started_at AS length FROM (
             SELECT finished_at, started_at FROM jobs INDEXED BY jobs_by_state
             WHERE tenant_id = ? AND state = 'completed' AND kind = ? ORDER BY id DESC LIMIT +?)
         ORDER BY finished_at DESC",
    )
    .bind(queue.tenant.as_uuid())
    .bind(queue.kind.as_str())
    .bind(Waiting::HOLDERS)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| {
        let length = Reader(row).get::<i64>("length")?;
        Ok(TimeDelta::microseconds(length).as_seconds_f64())
    })
    .collect()
}
