//! A job, and the queues of a tenant, as they are now. Nothing here locks or changes anything.

use std::sync::LazyLock;

use application::ports::QueueView;
use domain::{Job, JobId, TenantId};
use tokio_postgres::Row;

use crate::PostgresStore;
use crate::error::Failure;
use crate::rows::{self, JOB};

static GET: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {JOB} FROM jobs j WHERE j.tenant_id = $1 AND j.id = $2"));

pub(crate) async fn get(
    store: &PostgresStore,
    tenant: TenantId,
    job: JobId,
) -> Result<Option<Job>, Failure> {
    let client = store.client().await?;
    let get = client.prepare_cached(&GET).await?;
    let row = client
        .query_opt(&get, &[&tenant.as_uuid(), &job.as_uuid()])
        .await?;
    Ok(row
        .as_ref()
        .map(rows::job)
        .transpose()?
        .map(|stored| stored.job))
}

/// The oldest of those that are due: jobs for later may be older. Where there are only such, a mass of them costs no
/// look.
const QUEUES: &str = "SELECT s.tenant_id, s.kind, s.queued, s.running, s.quota, t.slug,
        s.paused OR NOT t.active AS paused, s.draining,
        CASE WHEN s.due > 0 OR EXISTS (
            SELECT FROM jobs j
            WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind AND j.state = 'queued' AND j.due
                AND j.requires IS NOT NULL
        ) THEN (
            SELECT min(j.queued_at) FROM jobs j
            WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind AND j.state = 'queued' AND j.due
                AND j.queued_at IS NOT NULL
        ) END AS oldest_queued_at
    FROM tenant_slots s JOIN tenants t ON t.id = s.tenant_id
    WHERE s.tenant_id = $1 ORDER BY s.kind";

pub(crate) async fn queues(
    store: &PostgresStore,
    tenant: TenantId,
) -> Result<Vec<QueueView>, Failure> {
    let client = store.client().await?;
    let queues = client.prepare_cached(QUEUES).await?;
    let rows = client.query(&queues, &[&tenant.as_uuid()]).await?;
    rows.iter().map(queue_view).collect()
}

fn queue_view(row: &Row) -> Result<QueueView, Failure> {
    Ok(QueueView {
        queue: rows::queue(row)?,
        tenant_slug: rows::get(row, "slug")?,
        depth: rows::count(row, "queued")?,
        oldest_queued_at: rows::get(row, "oldest_queued_at")?,
        running: rows::count(row, "running")?,
        quota: rows::count(row, "quota")?,
        paused: rows::get(row, "paused")?,
        draining: rows::get(row, "draining")?,
    })
}
