//! Everything that decides when a job runs, as it is at one instant.

use application::ports::{Holder, StoreError, Waiting};
use chrono::TimeDelta;
use domain::{Job, JobId, JobKind, JobState, Labels, QueueKey, TenantId, Timestamp};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::batch::{ids, json};
use crate::error::{corrupt, failed};
use crate::labelled::wishes;
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
        "SELECT s.*, t.weight, t.active, t.budget_until,
                NOT EXISTS (SELECT 1 FROM tenant_slots WHERE tenant_id = s.tenant_id AND NOT paused) AS all_paused
         FROM tenant_slots AS s JOIN tenants AS t ON t.id = s.tenant_id
         WHERE s.tenant_id = ? AND s.kind = ?",
    )
    .bind(tenant.as_uuid())
    .bind(queue.kind.as_str())
    .fetch_optional(&mut *tx)
    .await
    .map_err(failed)?
    .ok_or_else(|| corrupt(format!("tenant {tenant} has no slots of kind {}", queue.kind)))?;
    let live = live_workers(&mut tx, queue.kind, now).await?;
    let (workers, free_worker_slots) = fitting(&live, &requires);
    let flags = Reader(&slot);
    let waiting = Waiting {
        slots: snapshot(&slot)?,
        tenant_active: flags.get("active")?,
        queue_paused: flags.get("paused")?,
        all_queues_paused: flags.get("all_paused")?,
        draining: flags.get("draining")?,
        month_used_up_until: match queue.kind {
            JobKind::Session => flags.maybe_time("budget_until")?,
            JobKind::Training => None,
        },
        ahead: ahead(&mut tx, &job, &live).await?,
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

/// Labelled jobs are before a labelled job only: plain jobs get free slots first. Those that no live worker could run hold
/// nobody up.
async fn ahead(
    connection: &mut SqliteConnection,
    job: &Job,
    live: &[LiveWorker],
) -> Result<u32, StoreError> {
    let Some(turn) = job.turn.filter(|_| job.state() == JobState::Queued) else {
        return Ok(0);
    };
    let plain = sqlx::query(
        "SELECT count(*) AS ahead FROM (
             SELECT 1 FROM jobs INDEXED BY jobs_turns
             WHERE state = 'queued' AND due AND requires IS NULL AND tenant_id = ?1 AND kind = ?2
               AND (turn, id) < (?3, ?4) LIMIT +?5)",
    );
    let plain = before(plain, job, turn).fetch_one(&mut *connection).await;
    let mut ahead = Reader(&plain.map_err(failed)?).count("ahead")?;
    if !job.requires.is_empty() {
        let can_run = |wish: &Labels| live.iter().any(|worker| wish.are_met_by(&worker.labels));
        let wishes = wishes(&mut *connection, Some(job.queue()), can_run).await?;
        let wishes: Vec<&str> = wishes.iter().map(|wish| wish.requires.as_str()).collect();
        let labelled = sqlx::query(
            "SELECT count(*) AS ahead FROM (
                 SELECT 1 FROM json_each(?6) AS w
                 CROSS JOIN jobs INDEXED BY jobs_labelled
                 WHERE state = 'queued' AND due AND requires IS NOT NULL AND tenant_id = ?1 AND kind = ?2
                   AND requires = w.value AND (turn, jobs.id) < (?3, ?4) LIMIT +?5)",
        );
        let labelled = before(labelled, job, turn).bind(json(&wishes)?);
        let labelled = labelled.fetch_one(connection).await.map_err(failed)?;
        ahead += Reader(&labelled).count("ahead")?;
    }
    Ok(ahead.min(Waiting::COUNTED))
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Of the job's queue (`?1`, `?2`), those whose turn is before its own (`?3`, `?4`), so many at most (`?5`).
fn before<'q>(query: Query<'q>, job: &Job, turn: Timestamp) -> Query<'q> {
    query
        .bind(job.tenant.as_uuid())
        .bind(job.kind().as_str())
        .bind(turn.timestamp_micros())
        .bind(job.id.as_uuid())
        .bind(Waiting::COUNTED)
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

struct LiveWorker {
    labels: Labels,
    free: u32,
}

/// Live workers that take such jobs.
async fn live_workers(
    connection: &mut SqliteConnection,
    kind: JobKind,
    now: Timestamp,
) -> Result<Vec<LiveWorker>, StoreError> {
    let rows = sqlx::query(
        "SELECT kinds, labels, capacity, (SELECT count(*) FROM jobs INDEXED BY jobs_running
                                          WHERE worker_id = w.id AND state IN ('running', 'degraded')) AS running
         FROM workers AS w WHERE lease_until > ? AND NOT draining",
    )
    .bind(now.timestamp_micros())
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut live = Vec::new();
    for row in &rows {
        let row = Reader(row);
        if row.json::<Vec<JobKind>>("kinds")?.contains(&kind) {
            live.push(LiveWorker {
                labels: row.json("labels")?,
                free: row.count("capacity")?.saturating_sub(row.count("running")?),
            });
        }
    }
    Ok(live)
}

/// How many of them have what is required, and how many slots those have free.
fn fitting(live: &[LiveWorker], requires: &Labels) -> (u32, u32) {
    let fit = live
        .iter()
        .filter(|worker| requires.are_met_by(&worker.labels));
    fit.fold((0, 0), |(workers, free), worker| {
        (workers + 1, u32::saturating_add(free, worker.free))
    })
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
