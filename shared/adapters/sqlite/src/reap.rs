//! REAP: workers that were not heard of, and the jobs they held.

use std::time::Duration;

use application::ports::{Reaped, StoreError};
use domain::{Ending, Job, JobError, Outcome, Status, Timestamp, WorkerRef, settle};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::batch::ids;
use crate::end::{Run, end};
use crate::error::{corrupt, failed};
use crate::rows::{Reader, Stored, job, stored};
use crate::slots::Deltas;

pub async fn reap(
    store: &SqliteStore,
    grace: Duration,
    limit: u32,
    now: Timestamp,
) -> Result<Reaped, StoreError> {
    let mut tx = store.write().await?;
    let workers = give_up(&mut tx, now - grace).await?;
    if workers.is_empty() {
        return Ok(Reaped::default());
    }
    let lost = ids(workers.iter().map(|worker| worker.id.as_uuid()))?;
    let runs = runs_of(&mut tx, &lost, limit)
        .await?
        .iter()
        .map(|stored| give_back(stored, now))
        .collect::<Result<Vec<_>, _>>()?;
    let mut deltas = Deltas::default();
    let to_release = end(&mut tx, &runs, now, &mut deltas).await?;
    forget(&mut tx, &lost).await?;
    let jobs = reread(&mut tx, &runs).await?;
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Reaped {
        workers,
        jobs,
        slots,
        to_release,
    })
}

/// With the epoch raised, a worker that comes back finds its lease lost.
async fn give_up(
    connection: &mut SqliteConnection,
    deadline: Timestamp,
) -> Result<Vec<WorkerRef>, StoreError> {
    sqlx::query("UPDATE workers SET epoch = epoch + 1 WHERE lease_until < ? RETURNING id, epoch")
        .bind(deadline.timestamp_micros())
        .fetch_all(connection)
        .await
        .map_err(failed)?
        .iter()
        .map(|row| {
            let row = Reader(row);
            Ok(WorkerRef {
                id: row.worker_id("id")?,
                epoch: row.get("epoch")?,
            })
        })
        .collect()
}

async fn runs_of(
    connection: &mut SqliteConnection,
    workers: &str,
    limit: u32,
) -> Result<Vec<Stored>, StoreError> {
    sqlx::query(
        "SELECT * FROM jobs
         WHERE worker_id IN (SELECT unhex(value) FROM json_each(?)) AND state IN ('running', 'degraded')
         ORDER BY id LIMIT +?",
    )
    .bind(workers)
    .bind(limit)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(stored)
    .collect()
}

fn give_back(stored: &Stored, now: Timestamp) -> Result<Run, StoreError> {
    let job = &stored.job;
    let settlement = match (&job.status, settle(job, Ending::LeaseLost, now, 0.0)) {
        (_, Ok(settlement)) => settlement,
        // The table lets no degraded job be queued again: what it did so far cannot be trusted to be repeated.
        (Status::Degraded(claim), Err(_)) => {
            let error = JobError::new(
                "LEASE_LOST",
                format!(
                    "worker {} was not heard of while the job was degraded",
                    claim.worker
                ),
            );
            settle(job, Ending::Failed(error), now, 0.0).map_err(corrupt)?
        }
        (_, Err(error)) => return Err(corrupt(error)),
    };
    Ok(Run {
        settlement,
        job: job.id,
        queue: job.queue(),
        attempt: job.attempt,
        event_seq: stored.event_seq,
        started_at: job.started_at,
        asks_for_labels: !job.requires.is_empty(),
        // Its worker was lost, which says nothing of the agent.
        agent: Outcome::Nothing,
        fence: job.fence + 1,
    })
}

async fn forget(connection: &mut SqliteConnection, workers: &str) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM workers
         WHERE id IN (SELECT unhex(value) FROM json_each(?))
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE worker_id = workers.id AND state IN ('running', 'degraded'))",
    )
    .bind(workers)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn reread(connection: &mut SqliteConnection, runs: &[Run]) -> Result<Vec<Job>, StoreError> {
    sqlx::query(
        "SELECT * FROM jobs WHERE id IN (SELECT unhex(value) FROM json_each(?)) ORDER BY id",
    )
    .bind(ids(runs.iter().map(|run| run.job.as_uuid()))?)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(job)
    .collect()
}
