//! Jobs and queues as clients see them. Nothing here writes.

use application::ports::{QueueView, StoreError};
use domain::{Job, JobId, TenantId};

use crate::SqliteStore;
use crate::error::failed;
use crate::rows::{Reader, job};

pub async fn get(
    store: &SqliteStore,
    tenant: TenantId,
    id: JobId,
) -> Result<Option<Job>, StoreError> {
    sqlx::query("SELECT * FROM jobs WHERE id = ? AND tenant_id = ?")
        .bind(id.as_uuid())
        .bind(tenant.as_uuid())
        .fetch_optional(&store.readers)
        .await
        .map_err(failed)?
        .as_ref()
        .map(job)
        .transpose()
}

/// True when the tenant has such a job.
pub async fn exists(store: &SqliteStore, tenant: TenantId, id: JobId) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT 1 FROM jobs WHERE id = ? AND tenant_id = ?")
        .bind(id.as_uuid())
        .bind(tenant.as_uuid())
        .fetch_optional(&store.readers)
        .await
        .map_err(failed)?;
    Ok(row.is_some())
}

/// Of a queue, the oldest job that is due: jobs for later may be older. Where there are only such, a mass of them costs
/// no look.
const QUEUES: &str = "
    SELECT s.*, t.slug, t.active,
           CASE WHEN s.due > 0 OR EXISTS (
                SELECT 1 FROM jobs AS j INDEXED BY jobs_labelled
                WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind AND j.state = 'queued' AND j.due
                  AND j.requires IS NOT NULL)
           THEN (SELECT j.queued_at FROM jobs AS j INDEXED BY jobs_waiting
                 WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind AND j.state = 'queued' AND j.due
                 ORDER BY j.queued_at LIMIT 1)
           END AS oldest_queued_at
    FROM tenant_slots AS s JOIN tenants AS t ON t.id = s.tenant_id
    WHERE s.tenant_id = ? ORDER BY s.kind";

pub async fn queues(store: &SqliteStore, tenant: TenantId) -> Result<Vec<QueueView>, StoreError> {
    sqlx::query(QUEUES)
        .bind(tenant.as_uuid())
        .fetch_all(&store.readers)
        .await
        .map_err(failed)?
        .iter()
        .map(|row| {
            let row = Reader(row);
            Ok(QueueView {
                queue: row.queue()?,
                tenant_slug: row.get("slug")?,
                depth: row.count("queued")?,
                oldest_queued_at: row.maybe_time("oldest_queued_at")?,
                running: row.count("running")?,
                quota: row.count("quota")?,
                paused: row.get::<bool>("paused")? || !row.get::<bool>("active")?,
                draining: row.get("draining")?,
            })
        })
        .collect()
}
