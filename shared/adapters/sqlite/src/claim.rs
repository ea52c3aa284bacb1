//! CLAIM: messages become runs, under the worker's lease and the tenants' quotas.

use std::collections::{BTreeSet, HashMap, HashSet};

use application::ports::{ClaimRequest, Claimed, LeaseError, StoreError};
use domain::{
    Claim, EventKind, Job, JobId, JobState, QueueKey, SlotSnapshot, Status, Timestamp, WorkerRef,
};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::SqliteStore;
use crate::batch::{Hex, ids, json};
use crate::error::failed;
use crate::events::{self, EventRow};
use crate::lease::check_lease;
use crate::rows::{Stored, stored};
use crate::slots::{self, Deltas};
use crate::submit::is_due;

pub async fn claim(
    store: &SqliteStore,
    worker: WorkerRef,
    requests: Vec<ClaimRequest>,
    now: Timestamp,
) -> Result<Claimed, LeaseError> {
    let mut tx = store.write().await?;
    check_lease(&mut tx, worker, now).await?;
    let queues: BTreeSet<QueueKey> = requests.iter().map(|request| request.queue).collect();
    let slots = slots::read(&mut tx, queues).await?;
    let rows = load(&mut tx, &requests).await?;
    let decided = decide(requests, rows, &slots, now);
    let mut deltas = Deltas::default();
    let jobs = start(&mut tx, decided.claimed, worker, now, &mut deltas).await?;
    put_back(&mut tx, &decided.refused, &mut deltas).await?;
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Claimed {
        jobs,
        refused: decided.refused.iter().map(|stored| stored.job.id).collect(),
        gone: decided.gone,
        slots,
    })
}

async fn load(
    connection: &mut SqliteConnection,
    requests: &[ClaimRequest],
) -> Result<HashMap<JobId, Stored>, StoreError> {
    let wanted: BTreeSet<Uuid> = requests.iter().map(|r| r.job.as_uuid()).collect();
    sqlx::query("SELECT * FROM jobs WHERE id IN (SELECT unhex(value) FROM json_each(?))")
        .bind(ids(wanted)?)
        .fetch_all(connection)
        .await
        .map_err(failed)?
        .iter()
        .map(|row| stored(row).map(|stored| (stored.job.id, stored)))
        .collect()
}

#[derive(Default)]
struct Decided {
    claimed: Vec<Stored>,
    refused: Vec<Stored>,
    gone: Vec<JobId>,
}

/// In the order of the requests: who gets one of the free slots. A job asked for twice counts once.
fn decide(
    requests: Vec<ClaimRequest>,
    mut rows: HashMap<JobId, Stored>,
    slots: &[SlotSnapshot],
    now: Timestamp,
) -> Decided {
    let mut free: HashMap<QueueKey, u32> = slots
        .iter()
        .map(|slot| (slot.queue, if slot.paused { 0 } else { slot.free() }))
        .collect();
    let mut seen = HashSet::new();
    let mut decided = Decided::default();
    for request in requests {
        if !seen.insert(request.job) {
            continue;
        }
        let waiting = rows.remove(&request.job).filter(|stored| {
            stored.job.state() == JobState::Queued && stored.job.queue() == request.queue
        });
        let Some(stored) = waiting else {
            decided.gone.push(request.job);
            continue;
        };
        let free = free.entry(request.queue).or_default();
        if *free > 0 && is_due(&stored.job, now) {
            *free -= 1;
            decided.claimed.push(stored);
        } else {
            decided.refused.push(stored);
        }
    }
    decided
}

#[derive(Debug, Serialize)]
struct AttemptRow {
    job: Hex,
    tenant: Hex,
    number: u32,
}

async fn start(
    connection: &mut SqliteConnection,
    claimed: Vec<Stored>,
    worker: WorkerRef,
    now: Timestamp,
    deltas: &mut Deltas,
) -> Result<Vec<Job>, StoreError> {
    let mut jobs = Vec::with_capacity(claimed.len());
    let mut happened = Vec::with_capacity(claimed.len());
    let mut attempts = Vec::with_capacity(claimed.len());
    let mut data = Map::new();
    data.insert("worker".to_owned(), Value::String(worker.id.to_string()));
    for stored in claimed {
        let delta = deltas.of(stored.job.queue());
        delta.queued -= 1;
        delta.running += 1;
        delta.published -= i64::from(stored.published);
        let job = started(stored.job, worker, now);
        happened
            .push(EventRow::of(&job, stored.event_seq + 1, EventKind::Started, now).with(&data)?);
        attempts.push(AttemptRow {
            job: Hex(job.id.as_uuid()),
            tenant: Hex(job.tenant.as_uuid()),
            number: job.attempt,
        });
        jobs.push(job);
    }
    if jobs.is_empty() {
        return Ok(jobs);
    }
    write(connection, &jobs, &attempts, worker, now).await?;
    events::write(connection, &happened).await?;
    Ok(jobs)
}

fn started(job: Job, worker: WorkerRef, now: Timestamp) -> Job {
    Job {
        status: Status::Running(Claim {
            worker: worker.id,
            epoch: worker.epoch,
        }),
        attempt: job.attempt + 1,
        fence: job.fence + 1,
        started_at: Some(now),
        stop_requested_at: None,
        updated_at: now,
        ..job
    }
}

async fn write(
    connection: &mut SqliteConnection,
    jobs: &[Job],
    attempts: &[AttemptRow],
    worker: WorkerRef,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE jobs
         SET state = 'running', attempt = attempt + 1, fence = fence + 1, event_seq = event_seq + 1,
             worker_id = ?2, worker_epoch = ?3, started_at = ?4, updated_at = ?4, stop_requested_at = NULL,
             published_at = NULL
         WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
    )
    .bind(ids(jobs.iter().map(|job| job.id.as_uuid()))?)
    .bind(worker.id.as_uuid())
    .bind(worker.epoch)
    .bind(now.timestamp_micros())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query(
        "INSERT INTO job_attempts (job_id, number, tenant_id, worker_id, started_at)
         SELECT unhex(value ->> 'job'), value ->> 'number', unhex(value ->> 'tenant'), ?2, ?3
         FROM json_each(?1)",
    )
    .bind(json(attempts)?)
    .bind(worker.id.as_uuid())
    .bind(now.timestamp_micros())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Jobs that may not run now wait in the store again, without a message.
async fn put_back(
    connection: &mut SqliteConnection,
    refused: &[Stored],
    deltas: &mut Deltas,
) -> Result<(), StoreError> {
    let published = || refused.iter().filter(|stored| stored.published);
    for stored in published() {
        deltas.of(stored.job.queue()).published -= 1;
    }
    if published().next().is_none() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE jobs SET published_at = NULL WHERE id IN (SELECT unhex(value) FROM json_each(?))",
    )
    .bind(ids(published().map(|stored| stored.job.id.as_uuid()))?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
