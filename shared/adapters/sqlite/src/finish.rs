//! FINISH: runs end, by their worker's word. What is written here serves the reaper too.

use std::collections::{BTreeSet, HashMap};

use application::ports::{Finish, Finished, StoreError};
use domain::{JobId, JobState, QueueKey, Settlement, Timestamp, WorkerRef};
use serde::Serialize;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::SqliteStore;
use crate::batch::{Hex, ids, json};
use crate::error::failed;
use crate::events::{self, EventRow};
use crate::rows::Reader;
use crate::slots::Deltas;

pub async fn finish(
    store: &SqliteStore,
    worker: WorkerRef,
    finishes: Vec<Finish>,
    now: Timestamp,
) -> Result<Finished, StoreError> {
    let mut tx = store.write().await?;
    let mut held = held(&mut tx, worker, finishes.iter().map(|f| f.job)).await?;
    let mut runs = Vec::with_capacity(finishes.len());
    let mut fenced = Vec::new();
    for finish in finishes {
        // Taken out, so that a run named twice ends once.
        let ours = held.remove(&(finish.job, finish.fence));
        match ours {
            Some(held) => runs.push(Run {
                settlement: finish.settlement.unless_stopped(held.stop_requested),
                job: finish.job,
                queue: held.queue,
                attempt: held.attempt,
                event_seq: held.event_seq,
                fence: finish.fence,
            }),
            None => fenced.push(finish.job),
        }
    }
    let mut deltas = Deltas::default();
    end(&mut tx, &runs, now, &mut deltas).await?;
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Finished { fenced, slots })
}

/// What a worker runs, as far as its writes need it.
pub struct Held {
    pub queue: QueueKey,
    pub attempt: u32,
    pub event_seq: i64,
    pub stop_requested: bool,
}

/// Those of the jobs that the worker runs, by job and fence.
pub async fn held(
    connection: &mut SqliteConnection,
    worker: WorkerRef,
    jobs: impl Iterator<Item = JobId>,
) -> Result<HashMap<(JobId, i64), Held>, StoreError> {
    let jobs: BTreeSet<Uuid> = jobs.map(JobId::as_uuid).collect();
    sqlx::query(
        "SELECT id, tenant_id, kind, fence, attempt, event_seq, stop_requested_at FROM jobs
         WHERE id IN (SELECT unhex(value) FROM json_each(?1)) AND state IN ('running', 'degraded')
           AND worker_id = ?2 AND worker_epoch = ?3",
    )
    .bind(ids(jobs)?)
    .bind(worker.id.as_uuid())
    .bind(worker.epoch)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| {
        let row = Reader(row);
        let held = Held {
            queue: row.queue()?,
            attempt: row.count("attempt")?,
            event_seq: row.get("event_seq")?,
            stop_requested: row.maybe_time("stop_requested_at")?.is_some(),
        };
        Ok(((row.job_id("id")?, row.get("fence")?), held))
    })
    .collect()
}

/// A run that ends, and how.
pub struct Run {
    pub settlement: Settlement,
    pub job: JobId,
    pub queue: QueueKey,
    pub attempt: u32,
    pub event_seq: i64,
    /// The job's fence from now on.
    pub fence: i64,
}

#[derive(Debug, Serialize)]
struct RunRow {
    job: Hex,
    attempt: u32,
    state: &'static str,
    fence: i64,
    failures: u32,
    run_after: Option<i64>,
    result: Option<String>,
    error: Option<String>,
    outcome: &'static str,
}

impl RunRow {
    fn new(run: &Run) -> Result<Self, StoreError> {
        let settlement = &run.settlement;
        Ok(Self {
            job: Hex(run.job.as_uuid()),
            attempt: run.attempt,
            state: settlement.state.as_str(),
            fence: run.fence,
            failures: settlement.failures,
            run_after: settlement.run_after.map(|at| at.timestamp_micros()),
            result: settlement.result.as_ref().map(json).transpose()?,
            error: settlement.error.as_ref().map(json).transpose()?,
            outcome: settlement.outcome.as_str(),
        })
    }
}

/// Writes job, attempt and event of each run, and what the queues get back.
pub async fn end(
    connection: &mut SqliteConnection,
    runs: &[Run],
    now: Timestamp,
    deltas: &mut Deltas,
) -> Result<(), StoreError> {
    if runs.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::with_capacity(runs.len());
    let mut happened = Vec::with_capacity(runs.len());
    for run in runs {
        let delta = deltas.of(run.queue);
        delta.running -= 1;
        delta.queued += i64::from(run.settlement.state == JobState::Queued);
        rows.push(RunRow::new(run)?);
        let event = EventRow::new(
            run.queue.tenant,
            run.job,
            run.attempt,
            run.event_seq + 1,
            run.settlement.event,
            now,
        );
        happened.push(event.with(&run.settlement.event_data())?);
    }
    let rows = json(&rows)?;
    write_jobs(connection, &rows, now).await?;
    write_attempts(connection, &rows, now).await?;
    events::write(connection, &happened).await
}

async fn write_jobs(
    connection: &mut SqliteConnection,
    rows: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE jobs
         SET state = r.state, fence = r.fence, failures = r.failures, event_seq = jobs.event_seq + 1,
             run_after = iif(r.state = 'queued', r.run_after, jobs.run_after),
             queued_at = iif(r.state = 'queued', ?2, jobs.queued_at),
             finished_at = iif(r.state = 'queued', NULL, ?2),
             result = r.result, error = r.error, worker_id = NULL, worker_epoch = NULL,
             published_at = NULL, updated_at = ?2
         FROM (SELECT unhex(value ->> 'job') AS id, value ->> 'state' AS state, value ->> 'fence' AS fence,
                      value ->> 'failures' AS failures, value ->> 'run_after' AS run_after,
                      value ->> 'result' AS result, value ->> 'error' AS error
               FROM json_each(?1)) AS r
         WHERE jobs.id = r.id",
    )
    .bind(rows)
    .bind(now.timestamp_micros())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn write_attempts(
    connection: &mut SqliteConnection,
    rows: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE job_attempts
         SET finished_at = ?2, outcome = r.outcome, error = r.error
         FROM (SELECT unhex(value ->> 'job') AS id, value ->> 'attempt' AS attempt,
                      value ->> 'outcome' AS outcome, value ->> 'error' AS error
               FROM json_each(?1)) AS r
         WHERE job_attempts.job_id = r.id AND job_attempts.number = r.attempt",
    )
    .bind(rows)
    .bind(now.timestamp_micros())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
