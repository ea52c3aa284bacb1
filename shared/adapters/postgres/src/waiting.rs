//! Everything that decides when a job runs, as it is at one moment. What follows from it is put in words elsewhere.

use std::sync::LazyLock;

use application::ports::{Holder, Waiting};
use deadpool_postgres::Transaction;
use domain::{Job, JobId, JobState, TenantId, Timestamp, WorkerId};
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row};

use crate::PostgresStore;
use crate::error::Failure;
use crate::json::jsonb;
use crate::rows::{self, JOB, SLOT, StoredJob};

static FIND: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {JOB} FROM jobs j WHERE j.tenant_id = $1 AND j.id = $2"));

static QUEUE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {SLOT}, s.paused AS queue_paused, s.draining, t.active,
            CASE WHEN s.kind = 'session' THEN t.budget_until END AS month_used_up_until,
            NOT EXISTS (SELECT FROM tenant_slots o WHERE o.tenant_id = s.tenant_id AND NOT o.paused) AS all_paused
        FROM tenant_slots s JOIN tenants t ON t.id = s.tenant_id
        WHERE s.tenant_id = $1 AND s.kind = $2"
    )
});

/// From the index that is in the order of their turns.
const PLAIN_AHEAD: &str = "SELECT count(*)::int4 AS ahead FROM (
        SELECT FROM jobs j
        WHERE j.tenant_id = $1 AND j.kind = $2 AND j.state = 'queued' AND j.due AND j.requires IS NULL
            AND (j.turn, j.id) < ($3, $4)
        LIMIT $5
    ) AS ahead";

/// From one asked-for set of labels to the next, as the claim goes: those that no live worker has cost one look.
const LABELLED_AHEAD: &str = "WITH RECURSIVE asked AS (
        (SELECT j.requires FROM jobs j
        WHERE j.tenant_id = $1 AND j.kind = $2 AND j.state = 'queued' AND j.due AND j.requires IS NOT NULL
        ORDER BY j.requires LIMIT 1)
        UNION ALL
        SELECT further.requires FROM asked CROSS JOIN LATERAL (
            SELECT j.requires FROM jobs j
            WHERE j.tenant_id = $1 AND j.kind = $2 AND j.state = 'queued' AND j.due AND j.requires IS NOT NULL
                AND j.requires > asked.requires
            ORDER BY j.requires LIMIT 1
        ) AS further
    )
    SELECT count(*)::int4 AS ahead FROM (
        SELECT FROM asked CROSS JOIN LATERAL (
            SELECT FROM jobs j
            WHERE j.tenant_id = $1 AND j.kind = $2 AND j.state = 'queued' AND j.due AND j.requires IS NOT NULL
                AND j.requires = asked.requires AND (j.turn, j.id) < ($3, $4)
            LIMIT $5
        ) AS before
        WHERE EXISTS (
            SELECT FROM workers w
            WHERE w.lease_until > $6 AND NOT w.draining AND $2 = ANY (w.kinds) AND w.labels @> asked.requires
        )
        LIMIT $5
    ) AS ahead";

const HOLDERS: &str = "SELECT id, title, worker_id, started_at FROM jobs
    WHERE tenant_id = $1 AND kind = $2 AND state IN ('running', 'degraded')
    ORDER BY started_at, id LIMIT $3";

const PREREQUISITES: &str = "SELECT id, state FROM jobs
    WHERE id = ANY ($1::uuid[]) AND tenant_id = $2 AND state NOT IN ('completed', 'partially_completed')
    ORDER BY id LIMIT $3";

const WORKERS: &str = "SELECT count(*)::int4 AS workers,
        coalesce(sum(greatest(w.capacity - (SELECT count(*) FROM jobs j
            WHERE j.worker_id = w.id AND j.state IN ('running', 'degraded')), 0)), 0)::int4 AS free
    FROM workers w
    WHERE w.lease_until > $1 AND NOT w.draining AND $2 = ANY (w.kinds) AND w.labels @> $3::jsonb";

/// The latest submitted of those that completed stand for the latest completed: an index knows them.
const RECENT: &str = "SELECT extract(epoch FROM finished_at - started_at)::float8 AS seconds FROM (
        SELECT started_at, finished_at FROM jobs
        WHERE tenant_id = $1 AND state = 'completed' AND kind = $2
        ORDER BY id DESC LIMIT $3
    ) AS recent
    WHERE finished_at IS NOT NULL AND started_at IS NOT NULL
    ORDER BY finished_at DESC";

/// `JobStore::waiting`. One snapshot for all of it.
pub(crate) async fn waiting(
    store: &PostgresStore,
    tenant: TenantId,
    job: JobId,
    now: Timestamp,
) -> Result<Option<Waiting>, Failure> {
    let mut client = store.client().await?;
    let tx = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let found = query(&tx, &FIND, &[&tenant.as_uuid(), &job.as_uuid()]).await?;
    let Some(row) = found.first() else {
        return Ok(None);
    };
    let stored = rows::job(row)?;
    let read = Read {
        tx: &tx,
        stored: &stored,
    };
    let queue = read.queue().await?;
    let workers = read.workers(now).await?;
    let waiting = Waiting {
        slots: rows::slot(&queue)?,
        tenant_active: rows::get(&queue, "active")?,
        queue_paused: rows::get(&queue, "queue_paused")?,
        all_queues_paused: rows::get(&queue, "all_paused")?,
        draining: rows::get(&queue, "draining")?,
        month_used_up_until: rows::get(&queue, "month_used_up_until")?,
        ahead: read.ahead(now).await?,
        holders: read.holders().await?,
        prerequisites: read.prerequisites().await?,
        workers: rows::count(&workers, "workers")?,
        free_worker_slots: rows::count(&workers, "free")?,
        recent_seconds: read.recent().await?,
        job: stored.job,
    };
    Ok(Some(waiting))
}

async fn query(
    tx: &Transaction<'_>,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Failure> {
    let statement = tx.prepare_cached(sql).await?;
    Ok(tx.query(&statement, params).await?)
}

struct Read<'a> {
    tx: &'a Transaction<'a>,
    stored: &'a StoredJob,
}

const LISTED: i64 = Waiting::HOLDERS as i64;

impl Read<'_> {
    fn job(&self) -> &Job {
        &self.stored.job
    }

    /// Of the job's queue.
    async fn of_queue(&self, sql: &str, more: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
        let (tenant, kind) = (self.job().tenant.as_uuid(), self.job().kind().as_str());
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &kind];
        params.extend(more);
        query(self.tx, sql, &params).await
    }

    async fn queue(&self) -> Result<Row, Failure> {
        let queue = self.of_queue(&QUEUE, &[]).await?;
        let none = || Failure::unexpected("a job's queue is not there");
        queue.into_iter().next().ok_or_else(none)
    }

    /// Labelled jobs are before a labelled job only: plain jobs get free slots first.
    async fn ahead(&self, now: Timestamp) -> Result<u32, Failure> {
        let job = self.job();
        let Some(turn) = job.turn.filter(|_| job.state() == JobState::Queued) else {
            return Ok(0);
        };
        let (id, most) = (job.id.as_uuid(), i64::from(Waiting::COUNTED));
        let plain = self.of_queue(PLAIN_AHEAD, &[&turn, &id, &most]).await?;
        let labelled = if job.requires.is_empty() {
            Vec::new()
        } else {
            self.of_queue(LABELLED_AHEAD, &[&turn, &id, &most, &now])
                .await?
        };
        let mut ahead = 0;
        for row in plain.iter().chain(&labelled) {
            ahead += rows::count(row, "ahead")?;
        }
        Ok(ahead.min(Waiting::COUNTED))
    }

    async fn holders(&self) -> Result<Vec<Holder>, Failure> {
        let holders = self.of_queue(HOLDERS, &[&LISTED]).await?;
        holders
            .iter()
            .map(|row| {
                Ok(Holder {
                    job: rows::job_id(row, "id")?,
                    title: rows::get(row, "title")?,
                    worker: WorkerId::from_uuid(rows::get(row, "worker_id")?),
                    started_at: rows::get(row, "started_at")?,
                })
            })
            .collect()
    }

    /// A job that was started by a person waits for its prerequisites no longer.
    async fn prerequisites(&self) -> Result<Vec<(JobId, JobState)>, Failure> {
        let job = self.job();
        if job.state() != JobState::Pending || job.depends_on.is_empty() {
            return Ok(Vec::new());
        }
        let on: Vec<uuid::Uuid> = job.depends_on.iter().map(|on| on.as_uuid()).collect();
        let rows = query(
            self.tx,
            PREREQUISITES,
            &[&on, &job.tenant.as_uuid(), &LISTED],
        )
        .await?;
        rows.iter()
            .map(|row| Ok((rows::job_id(row, "id")?, rows::named(row, "state")?)))
            .collect()
    }

    async fn workers(&self, now: Timestamp) -> Result<Row, Failure> {
        let job = self.job();
        let (kind, requires) = (
            job.kind().as_str(),
            jsonb(&job.requires.clone().without_agent())?,
        );
        let workers = query(self.tx, WORKERS, &[&now, &kind, &requires]).await?;
        let none = || Failure::unexpected("workers could not be counted");
        workers.into_iter().next().ok_or_else(none)
    }

    async fn recent(&self) -> Result<Vec<f64>, Failure> {
        let recent = self.of_queue(RECENT, &[&LISTED]).await?;
        recent.iter().map(|row| rows::get(row, "seconds")).collect()
    }
}
