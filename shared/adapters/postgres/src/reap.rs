//! REAP: what a worker held that was not heard of for a whole lease goes back to its queues.
//!
//! The worker's row stays locked to the end, so none of its claims gets in between; rows that another reaper holds are
//! passed over, so two of them share the work instead of waiting for each other.

use std::sync::LazyLock;
use std::time::Duration;

use application::ports::Reaped;
use deadpool_postgres::Transaction;
use domain::{
    AttemptOutcome, Ending, Job, JobError, JobState, Outcome, Settlement, Status, Timestamp,
    WorkerId, WorkerRef,
};
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::Failure;
use crate::finish::{self, Ended};
use crate::pipeline::prepare;
use crate::rows::{self, JOB, StoredJob};
use crate::slots::{self, Keys};

/// Workers looked at in one transaction; the rest waits for the next.
const WORKERS_AT_ONCE: i64 = 64;

const GIVE_UP: &str = "WITH gone AS (
        SELECT id FROM workers WHERE lease_until < $1 ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    UPDATE workers w SET epoch = w.epoch + 1 FROM gone WHERE w.id = gone.id RETURNING w.id, w.epoch";

const THEIR_JOBS: &str = "SELECT id, tenant_id, kind FROM jobs
    WHERE worker_id = ANY ($1::uuid[]) AND state IN ('running', 'degraded')
    ORDER BY id LIMIT $2";

/// Some may have been finished since they were found.
static LOCK_JOBS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {JOB} FROM jobs j
        WHERE j.id = ANY ($1::uuid[]) AND j.worker_id = ANY ($2::uuid[]) AND j.state IN ('running', 'degraded')
        ORDER BY j.id FOR UPDATE"
    )
});

const BURY: &str = "DELETE FROM workers w WHERE w.id = ANY ($1::uuid[])
    AND NOT EXISTS (SELECT FROM jobs j WHERE j.worker_id = w.id AND j.state IN ('running', 'degraded'))";

pub(crate) async fn reap(
    store: &PostgresStore,
    grace: Duration,
    limit: u32,
    now: Timestamp,
) -> Result<Reaped, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let workers = give_up(&tx, now - grace).await?;
    if workers.is_empty() {
        return Ok(Reaped::default());
    }
    let ids: Vec<Uuid> = workers.iter().map(|worker| worker.id.as_uuid()).collect();
    let taken = take_jobs(&tx, &ids, limit).await?;
    let mut ended = Vec::with_capacity(taken.len());
    let mut jobs = Vec::with_capacity(taken.len());
    for stored in taken {
        let settlement = lease_lost(&stored.job, now)?;
        jobs.push(after(&stored.job, &settlement, now));
        let claim = stored.job.status.claim();
        ended.push(Ended {
            queue: stored.job.queue(),
            job: stored.job.id,
            claim: claim.ok_or_else(|| Failure::unexpected("a running job without a worker"))?,
            fence: stored.job.fence,
            new_fence: stored.job.fence + 1,
            // Its worker was lost, which says nothing of the agent.
            agent: Outcome::Nothing,
            settlement,
        });
    }
    prepare(&tx, &finish::settle_statements()).await?;
    let settled = finish::settle(&tx, ended, now).await?;
    let bury = tx.prepare_cached(BURY).await?;
    tx.execute(&bury, &[&ids]).await?;
    tx.commit().await?;
    Ok(Reaped {
        workers,
        jobs,
        slots: settled.slots,
        to_release: settled.to_release,
    })
}

/// With the epoch raised, a worker that comes back finds its lease lost.
async fn give_up(tx: &Transaction<'_>, deadline: Timestamp) -> Result<Vec<WorkerRef>, Failure> {
    let give_up = tx.prepare_cached(GIVE_UP).await?;
    let rows = tx.query(&give_up, &[&deadline, &WORKERS_AT_ONCE]).await?;
    rows.iter()
        .map(|row| {
            Ok(WorkerRef {
                id: WorkerId::from_uuid(rows::get(row, "id")?),
                epoch: rows::get(row, "epoch")?,
            })
        })
        .collect()
}

/// Found, then their queues locked, then themselves: the order that everybody keeps.
async fn take_jobs(
    tx: &Transaction<'_>,
    workers: &[Uuid],
    limit: u32,
) -> Result<Vec<StoredJob>, Failure> {
    let find = tx.prepare_cached(THEIR_JOBS).await?;
    let found = tx.query(&find, &[&workers, &i64::from(limit)]).await?;
    let ids: Vec<Uuid> = found
        .iter()
        .map(|row| rows::get(row, "id"))
        .collect::<Result<_, _>>()?;
    let queues: Vec<_> = found.iter().map(rows::queue).collect::<Result<_, _>>()?;
    slots::lock(tx, &Keys::of(queues)).await?;
    let lock = tx.prepare_cached(&LOCK_JOBS).await?;
    let rows = tx.query(&lock, &[&ids, &workers]).await?;
    rows.iter().map(rows::job).collect()
}

fn lease_lost(job: &Job, now: Timestamp) -> Result<Settlement, Failure> {
    domain::settle(job, Ending::LeaseLost, now, 0.0)
        .or_else(|_| {
            // A degraded job cannot be queued again, so it has failed.
            let error = JobError::new(
                "LEASE_LOST",
                "its worker was not heard of for a whole lease",
            );
            domain::settle(job, Ending::Failed(error), now, 0.0).map(|settlement| Settlement {
                outcome: AttemptOutcome::LeaseLost,
                ..settlement
            })
        })
        .map_err(|invalid| Failure::Unexpected(format!("job {}: {invalid}", job.id)))
}

/// The job as [`finish::settle`] leaves it.
fn after(job: &Job, settlement: &Settlement, now: Timestamp) -> Job {
    let queued = settlement.state == JobState::Queued;
    Job {
        status: Status::from_row(settlement.state, None).unwrap_or(job.status.clone()),
        failures: settlement.failures,
        run_after: if queued {
            settlement.run_after
        } else {
            job.run_after
        },
        result: settlement.result.clone(),
        error: settlement.error.clone(),
        fence: job.fence + 1,
        updated_at: now,
        queued_at: if queued { Some(now) } else { job.queued_at },
        finished_at: settlement.state.is_finished().then_some(now),
        ..job.clone()
    }
}
