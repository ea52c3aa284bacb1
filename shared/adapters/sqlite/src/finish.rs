//! FINISH: runs end, by their worker's word.

use std::collections::{BTreeSet, HashMap};

use application::ports::{Finish, Finished, StoreError};
use domain::{JobId, QueueKey, Spent, Timestamp, WorkerRef};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::SqliteStore;
use crate::batch::ids;
use crate::end::{Run, end};
use crate::error::failed;
use crate::fences::Fences;
use crate::report::add_logs;
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
    let locks = Fences::load(&mut tx, &finishes).await?;
    let mut runs = Vec::with_capacity(finishes.len());
    let mut said = Vec::new();
    let mut fenced = Vec::new();
    for finish in finishes {
        if !locks.hold(&finish.guards) {
            fenced.push(finish.job);
            continue;
        }
        // Taken out, so that a run named twice ends once.
        let ours = held.remove(&(finish.job, finish.fence));
        match ours {
            Some(held) => {
                let (tenant, job) = (held.queue.tenant, finish.job);
                said.extend(finish.logs.into_iter().map(|chunk| (tenant, job, chunk)));
                runs.push(Run {
                    settlement: finish
                        .settlement
                        .unless_asked(held.stop_requested, held.pause_requested),
                    job: finish.job,
                    queue: held.queue,
                    attempt: held.attempt,
                    event_seq: held.event_seq,
                    started_at: held.started_at,
                    asks_for_labels: held.asks_for_labels,
                    agent: finish.agent,
                    fence: finish.fence,
                });
            }
            None => fenced.push(finish.job),
        }
    }
    let mut deltas = Deltas::default();
    let to_release = end(&mut tx, &runs, now, &mut deltas).await?;
    add_logs(&mut tx, &said, now).await?;
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Finished {
        fenced,
        slots,
        to_release,
    })
}

/// What a worker runs, as far as its writes need it.
pub struct Held {
    pub queue: QueueKey,
    pub attempt: u32,
    pub event_seq: i64,
    pub started_at: Option<Timestamp>,
    pub stop_requested: bool,
    pub pause_requested: bool,
    pub asks_for_labels: bool,
    pub spent: Spent,
    pub ancestors: Vec<JobId>,
}

/// Those of the jobs that the worker runs, by job and fence.
pub async fn held(
    connection: &mut SqliteConnection,
    worker: WorkerRef,
    jobs: impl Iterator<Item = JobId>,
) -> Result<HashMap<(JobId, i64), Held>, StoreError> {
    let jobs: BTreeSet<Uuid> = jobs.map(JobId::as_uuid).collect();
    sqlx::query(
        "SELECT jobs.id, tenant_id, kind, fence, attempt, event_seq, started_at, stop_requested_at IS NOT NULL AS stop,
                pause_requested_at IS NOT NULL AS pause,
                requires IS NOT NULL AS asks, spent, ancestors
         FROM json_each(?1) AS named CROSS JOIN jobs ON jobs.id = unhex(named.value)
         WHERE state IN ('running', 'degraded') AND worker_id = ?2 AND worker_epoch = ?3",
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
            started_at: row.maybe_time("started_at")?,
            stop_requested: row.get("stop")?,
            pause_requested: row.get("pause")?,
            asks_for_labels: row.get("asks")?,
            spent: row.maybe_json("spent")?.unwrap_or_default(),
            ancestors: row.json("ancestors")?,
        };
        Ok(((row.job_id("id")?, row.get("fence")?), held))
    })
    .collect()
}
