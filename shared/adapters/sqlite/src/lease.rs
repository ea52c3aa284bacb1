//! Leases: one a worker, not one a job.

use application::ports::{HeldJob, LeaseError, NewWorker, Renewal, StoreError};
use domain::{Labels, Timestamp, WorkerRef};
use sqlx::{Row as _, SqliteConnection};

use crate::SqliteStore;
use crate::batch::json;
use crate::error::failed;
use crate::rows::Reader;

pub async fn register_worker(
    store: &SqliteStore,
    worker: NewWorker,
    lease_until: Timestamp,
    now: Timestamp,
) -> Result<WorkerRef, StoreError> {
    let epoch = 1;
    let mut tx = store.write().await?;
    sqlx::query(
        "INSERT INTO workers (id, epoch, host, kinds, labels, capacity, draining, started_at, lease_until)
         VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
    )
    .bind(worker.id.as_uuid())
    .bind(epoch)
    .bind(worker.host)
    .bind(json(&worker.kinds)?)
    .bind(json(&worker.labels)?)
    .bind(worker.capacity)
    .bind(now.timestamp_micros())
    .bind(lease_until.timestamp_micros())
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    Ok(WorkerRef {
        id: worker.id,
        epoch,
    })
}

/// The worker is alive, and this is it and not its former life. Returns its labels.
pub async fn check_lease(
    connection: &mut SqliteConnection,
    worker: WorkerRef,
    now: Timestamp,
) -> Result<Labels, LeaseError> {
    let row =
        sqlx::query("SELECT labels FROM workers WHERE id = ? AND epoch = ? AND lease_until > ?")
            .bind(worker.id.as_uuid())
            .bind(worker.epoch)
            .bind(now.timestamp_micros())
            .fetch_optional(connection)
            .await
            .map_err(failed)?;
    let row = row.ok_or(LeaseError::Lost(worker))?;
    Ok(Reader(&row).json("labels")?)
}

/// Of every worker; who lives nonetheless finds its lease lost.
pub async fn end_all(store: &SqliteStore) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    sqlx::query("UPDATE workers SET lease_until = 0")
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    tx.commit().await.map_err(failed)
}

pub async fn renew_lease(
    store: &SqliteStore,
    worker: WorkerRef,
    lease_until: Timestamp,
    now: Timestamp,
) -> Result<Renewal, LeaseError> {
    let mut tx = store.write().await?;
    check_lease(&mut tx, worker, now).await?;
    sqlx::query("UPDATE workers SET lease_until = ? WHERE id = ?")
        .bind(lease_until.timestamp_micros())
        .bind(worker.id.as_uuid())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    let rows = sqlx::query(
        "SELECT id, tenant_id, fence, stop_requested_at IS NOT NULL AS asked,
                pause_requested_at IS NOT NULL AS paused FROM jobs
         WHERE worker_id = ? AND state IN ('running', 'degraded')
         ORDER BY id",
    )
    .bind(worker.id.as_uuid())
    .fetch_all(&mut *tx)
    .await
    .map_err(failed)?;
    let mut renewal = Renewal::default();
    for row in &rows {
        let (job, tenant) = (
            Reader(row).job_id("id")?,
            Reader(row).tenant_id("tenant_id")?,
        );
        let fence = Reader(row).get("fence")?;
        renewal.held.push(HeldJob { tenant, job, fence });
        if row.try_get("asked").map_err(failed)? {
            renewal.stop_requested.push(job);
        } else if row.try_get("paused").map_err(failed)? {
            renewal.pause_requested.push(job);
        }
    }
    tx.commit().await.map_err(failed)?;
    Ok(renewal)
}

pub async fn drain_worker(store: &SqliteStore, worker: WorkerRef) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    sqlx::query("UPDATE workers SET draining = 1 WHERE id = ? AND epoch = ?")
        .bind(worker.id.as_uuid())
        .bind(worker.epoch)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    tx.commit().await.map_err(failed)
}

pub async fn release_worker(
    store: &SqliteStore,
    worker: WorkerRef,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    sqlx::query(
        "UPDATE workers SET lease_until = min(lease_until, ?), draining = 1 WHERE id = ? AND epoch = ?",
    )
    .bind(now.timestamp_micros())
    .bind(worker.id.as_uuid())
    .bind(worker.epoch)
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    sqlx::query(
        "DELETE FROM workers
         WHERE id = ? AND epoch = ?
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE worker_id = workers.id AND state IN ('running', 'degraded'))",
    )
    .bind(worker.id.as_uuid())
    .bind(worker.epoch)
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    tx.commit().await.map_err(failed)
}
