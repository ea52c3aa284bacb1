//! CLAIM: wake-ups become runs, under the worker's lease and the tenants' quotas.

use std::collections::BTreeMap;

use application::ports::{ClaimRequest, Claimed, LeaseError, StoreError};
use domain::{EventKind, Job, Labels, QueueKey, SlotSnapshot, Timestamp, WorkerRef};
use serde::Serialize;
use serde_json::json;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::batch::{Hex, json};
use crate::error::failed;
use crate::labelled;
use crate::lease::check_lease;
use crate::rows::{Stored, stored};
use crate::slots::{self, Deltas};

pub async fn claim(
    store: &SqliteStore,
    worker: WorkerRef,
    requests: Vec<ClaimRequest>,
    now: Timestamp,
) -> Result<Claimed, LeaseError> {
    let mut tx = store.write().await?;
    let labels = check_lease(&mut tx, worker, now).await?;
    let wanted = add_up(&requests);
    let slots = slots::read(&mut tx, wanted.keys().copied()).await?;
    let mut deltas = Deltas::default();
    for (queue, wants) in wanted.iter().filter(|(_, wants)| wants.wakeups > 0) {
        let delta = deltas.of(*queue);
        delta.published -= i64::from(wants.wakeups);
        delta.touched = Some(now);
    }
    let mut claiming = Claiming {
        connection: &mut tx,
        worker,
        now,
        claimed: Vec::new(),
    };
    claiming.plain(&slots, &wanted).await?;
    claiming.labelled(&slots, &wanted, &labels).await?;
    let claimed = claiming.claimed;
    write_history(&mut tx, &claimed, worker).await?;
    for Stored { job, .. } in &claimed {
        let delta = deltas.of(job.queue());
        delta.queued -= 1;
        delta.due -= i64::from(job.requires.is_empty());
        delta.running += 1;
    }
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    let mut jobs: Vec<Job> = claimed.into_iter().map(|stored| stored.job).collect();
    jobs.sort_unstable_by_key(|job| (job.queue(), job.turn, job.id));
    Ok(Claimed { jobs, slots })
}

/// What is asked of a queue, all requests together.
#[derive(Debug, Clone, Copy, Default)]
struct Wants {
    wakeups: u32,
    labelled: u32,
}

fn add_up(requests: &[ClaimRequest]) -> BTreeMap<QueueKey, Wants> {
    let mut wanted: BTreeMap<QueueKey, Wants> = BTreeMap::new();
    for request in requests {
        let wants = wanted.entry(request.queue).or_default();
        wants.wakeups = wants.wakeups.saturating_add(request.wakeups);
        wants.labelled = wants.labelled.saturating_add(request.labelled);
    }
    wanted
}

/// A macro, as a statement is a constant: the jobs of the rows that a query gives begin to run. A claim may have waited
/// for its turn to write, so a job does not start before what happened to it last.
macro_rules! start_rows {
    ($rows:literal) => {
        concat!(
            "UPDATE jobs
             SET state = 'running', attempt = attempt + 1, fence = fence + 1, event_seq = event_seq + 1,
                 worker_id = ?1, worker_epoch = ?2, stop_requested_at = NULL, pause_requested_at = NULL,
                 progress = nullif(json_remove(progress, '$.fraction', '$.message'), '{}'),
                 started_at = max(?3, updated_at), updated_at = max(?3, updated_at)
             WHERE rowid IN (",
            $rows,
            ") RETURNING *"
        )
    };
}

/// Of one queue (`?4`, `?5`), at most `?6`. Jobs whose deadline has passed are EXPIRE's.
const START_OF_ONE: &str = start_rows!(
    "SELECT rowid FROM jobs INDEXED BY jobs_turns
     WHERE state = 'queued' AND due AND requires IS NULL AND tenant_id = ?4 AND kind = ?5
       AND (deadline IS NULL OR deadline > ?3)
     ORDER BY turn, id LIMIT +?6"
);

/// Of each of many queues (`?4`), at most `?5`.
const START_OF_MANY: &str = start_rows!(
    "SELECT n.rowid FROM jsonb_each(?4) AS q
     CROSS JOIN jobs AS n ON n.rowid IN (
         SELECT rowid FROM jobs INDEXED BY jobs_turns
         WHERE state = 'queued' AND due AND requires IS NULL
           AND tenant_id = unhex(q.value ->> 0) AND kind = q.value ->> 1
           AND (deadline IS NULL OR deadline > ?3)
         ORDER BY turn, id LIMIT +?5)"
);

const START_THESE: &str = start_rows!("SELECT value FROM json_each(?4)");

struct Claiming<'c> {
    connection: &'c mut SqliteConnection,
    worker: WorkerRef,
    now: Timestamp,
    claimed: Vec<Stored>,
}

impl Claiming<'_> {
    /// Jobs that any worker may run. Queues from which as many are taken share a statement.
    async fn plain(
        &mut self,
        slots: &[SlotSnapshot],
        wanted: &BTreeMap<QueueKey, Wants>,
    ) -> Result<(), StoreError> {
        let mut queues: BTreeMap<u32, Vec<QueueKey>> = BTreeMap::new();
        for slot in slots.iter().filter(|slot| !slot.paused && slot.due > 0) {
            let wakeups = wanted.get(&slot.queue).map_or(0, |wants| wants.wakeups);
            let count = wakeups.min(slot.free());
            if count > 0 {
                queues.entry(count).or_default().push(slot.queue);
            }
        }
        for (count, queues) in queues {
            if let [queue] = queues[..] {
                let rows = self
                    .start(START_OF_ONE)
                    .bind(queue.tenant.as_uuid())
                    .bind(queue.kind.as_str())
                    .bind(count)
                    .fetch_all(&mut *self.connection)
                    .await;
                self.take(rows)?;
                continue;
            }
            let queues: Vec<(Hex, &str)> = queues
                .iter()
                .map(|queue| (Hex(queue.tenant.as_uuid()), queue.kind.as_str()))
                .collect();
            let rows = self
                .start(START_OF_MANY)
                .bind(json(&queues)?)
                .bind(count)
                .fetch_all(&mut *self.connection)
                .await;
            self.take(rows)?;
        }
        Ok(())
    }

    /// Jobs that ask for labels which the worker has, in the slots that are left.
    async fn labelled(
        &mut self,
        slots: &[SlotSnapshot],
        wanted: &BTreeMap<QueueKey, Wants>,
        labels: &Labels,
    ) -> Result<(), StoreError> {
        for slot in slots.iter().filter(|slot| !slot.paused) {
            let of_queue = |stored: &&Stored| stored.job.queue() == slot.queue;
            let taken = self.claimed.iter().filter(of_queue).count();
            let left = slot
                .free()
                .saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
            let asked = wanted.get(&slot.queue).map_or(0, |wants| wants.labelled);
            let count = asked.min(left);
            if count == 0 {
                continue;
            }
            let next = labelled::next(self.connection, slot.queue, labels, count, self.now).await?;
            if next.is_empty() {
                continue;
            }
            let rows = self
                .start(START_THESE)
                .bind(json(&next)?)
                .fetch_all(&mut *self.connection)
                .await;
            self.take(rows)?;
        }
        Ok(())
    }

    fn start(
        &self,
        statement: &'static str,
    ) -> sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
        sqlx::query(statement)
            .bind(self.worker.id.as_uuid())
            .bind(self.worker.epoch)
            .bind(self.now.timestamp_micros())
    }

    fn take(&mut self, rows: Result<Vec<SqliteRow>, sqlx::Error>) -> Result<(), StoreError> {
        for row in rows.map_err(failed)? {
            self.claimed.push(stored(&row)?);
        }
        Ok(())
    }
}

/// Job, tenant, attempt, number of the event, when.
#[derive(Debug, Serialize)]
struct StartedRow(Hex, Hex, u32, i64, i64);

/// The open attempts and the events of runs that begin.
async fn write_history(
    connection: &mut SqliteConnection,
    claimed: &[Stored],
    worker: WorkerRef,
) -> Result<(), StoreError> {
    if claimed.is_empty() {
        return Ok(());
    }
    let mut rows: Vec<StartedRow> = claimed
        .iter()
        .map(|Stored { job, event_seq, .. }| {
            let (id, tenant) = (Hex(job.id.as_uuid()), Hex(job.tenant.as_uuid()));
            let at = job.updated_at.timestamp_micros();
            StartedRow(id, tenant, job.attempt, *event_seq, at)
        })
        .collect();
    // Tables are written in the order of their keys.
    rows.sort_unstable_by_key(|row| row.0.0);
    let rows = json(&rows)?;
    sqlx::query(
        "INSERT INTO job_attempts (job_id, number, tenant_id, worker_id, started_at)
         SELECT unhex(value ->> 0), value ->> 2, unhex(value ->> 1), ?2, value ->> 4 FROM jsonb_each(?1)",
    )
    .bind(&rows)
    .bind(worker.id.as_uuid())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query(
        "INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt, data)
         SELECT unhex(value ->> 0), value ->> 3, unhex(value ->> 1), value ->> 4, ?2, value ->> 2, ?3 FROM jsonb_each(?1)",
    )
    .bind(rows)
    .bind(EventKind::Started.as_str())
    .bind(json!({ "worker": worker.id.to_string() }).to_string())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
