//! FINISH: settled runs written back, slots given back; hundreds of jobs of many tenants in a handful of statements.
//!
//! The worker's row is not asked: the fence alone says whether a run is still the worker's, and it is raised by
//! whoever takes a job away.

use std::collections::BTreeMap;

use application::ports::{Finish, Finished};
use deadpool_postgres::Transaction;
use domain::{JobId, JobState, QueueKey, Settlement, SlotSnapshot, Timestamp, WorkerRef};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::Failure;
use crate::events::{self, Events};
use crate::json::jsonb_or_null;
use crate::pipeline::prepare;
use crate::rows::{self, int};
use crate::slots::{self, Changes, Keys};

const LOCK_JOBS: &str = "SELECT id, tenant_id, kind, state, attempt, fence, event_seq, stop_requested_at IS NOT NULL AS asked
    FROM jobs
    WHERE id = ANY ($1::uuid[]) AND worker_id = $2 AND worker_epoch = $3 AND state IN ('running', 'degraded')
    ORDER BY id FOR UPDATE";

const SETTLE: &str = "UPDATE jobs j SET state = s.state, failures = s.failures, run_after = CASE WHEN s.state = 'queued' THEN s.run_after ELSE j.run_after END,
        result = s.result, error = s.error, fence = s.fence, event_seq = s.event_seq,
        worker_id = NULL, worker_epoch = NULL, published_at = NULL, updated_at = $1,
        queued_at = CASE WHEN s.state = 'queued' THEN $1 ELSE j.queued_at END,
        finished_at = CASE WHEN s.finished THEN $1 END
    FROM unnest($2::uuid[], $3::text[], $4::int4[], $5::timestamptz[], $6::jsonb[], $7::jsonb[],
            $8::int8[], $9::int8[], $10::bool[])
        AS s (id, state, failures, run_after, result, error, fence, event_seq, finished)
    WHERE j.id = s.id";

const CLOSE_ATTEMPTS: &str = "UPDATE job_attempts a SET finished_at = $1, outcome = s.outcome, error = s.error
    FROM unnest($2::uuid[], $3::int4[], $4::text[], $5::jsonb[]) AS s (job_id, number, outcome, error)
    WHERE a.job_id = s.job_id AND a.number = s.number AND a.finished_at IS NULL";

/// The statements of [`settle`], to be prepared before it.
pub(crate) fn settle_statements() -> [&'static str; 4] {
    [SETTLE, CLOSE_ATTEMPTS, events::INSERT, &slots::APPLY]
}

pub(crate) async fn finish(
    store: &PostgresStore,
    worker: WorkerRef,
    finishes: Vec<Finish>,
    now: Timestamp,
) -> Result<Finished, Failure> {
    let keys = Keys::of(finishes.iter().map(|finish| finish.queue));
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[slots::LOCK, LOCK_JOBS]).await?;
    prepare(&tx, &settle_statements()).await?;
    let ((), mut mine) =
        futures::try_join!(slots::lock(&tx, &keys), lock_jobs(&tx, worker, &finishes))?;
    let mut fenced = Vec::new();
    let mut ended = Vec::new();
    for finish in finishes {
        // Taken out, so that a run that is finished twice in one call is finished once.
        match mine.remove(&finish.job) {
            Some(run) if run.is_of(&finish) => ended.push(run.end(finish.settlement)),
            Some(run) => {
                mine.insert(finish.job, run);
                fenced.push(finish.job);
            }
            None => fenced.push(finish.job),
        }
    }
    let slots = settle(&tx, &ended, now).await?;
    tx.commit().await?;
    Ok(Finished { fenced, slots })
}

/// A run under lock.
struct Run {
    queue: QueueKey,
    job: JobId,
    state: JobState,
    attempt: u32,
    fence: i64,
    event_seq: i64,
    /// Somebody asked it to stop.
    asked: bool,
}

impl Run {
    fn of(row: &Row) -> Result<Self, Failure> {
        Ok(Self {
            queue: rows::queue(row)?,
            job: rows::job_id(row, "id")?,
            state: rows::named(row, "state")?,
            attempt: rows::count(row, "attempt")?,
            fence: rows::get(row, "fence")?,
            event_seq: rows::get(row, "event_seq")?,
            asked: rows::get(row, "asked")?,
        })
    }

    fn is_of(&self, finish: &Finish) -> bool {
        self.fence == finish.fence && self.queue == finish.queue
    }

    fn end(self, settlement: Settlement) -> Ended {
        Ended {
            queue: self.queue,
            job: self.job,
            from: self.state,
            attempt: self.attempt,
            fence: self.fence,
            event_seq: self.event_seq,
            // The worker may have settled before it heard of the stop.
            settlement: settlement.unless_stopped(self.asked),
        }
    }
}

async fn lock_jobs(
    tx: &Transaction<'_>,
    worker: WorkerRef,
    finishes: &[Finish],
) -> Result<BTreeMap<JobId, Run>, Failure> {
    let ids: Vec<Uuid> = finishes.iter().map(|finish| finish.job.as_uuid()).collect();
    let lock = tx.prepare_cached(LOCK_JOBS).await?;
    let rows = tx
        .query(&lock, &[&ids, &worker.id.as_uuid(), &worker.epoch])
        .await?;
    rows.iter()
        .map(|row| Run::of(row).map(|run| (run.job, run)))
        .collect()
}

/// A run that is over, of a locked job in a locked queue.
pub(crate) struct Ended {
    pub queue: QueueKey,
    pub job: JobId,
    pub from: JobState,
    /// The run's number.
    pub attempt: u32,
    /// The job's fence from now on.
    pub fence: i64,
    /// The job's latest event so far.
    pub event_seq: i64,
    pub settlement: Settlement,
}

/// Writes jobs, attempts, events and slots.
pub(crate) async fn settle(
    tx: &Transaction<'_>,
    ended: &[Ended],
    now: Timestamp,
) -> Result<Vec<SlotSnapshot>, Failure> {
    if ended.is_empty() {
        return Ok(Vec::new());
    }
    let mut events = Events::default();
    let mut changes = Changes::default();
    for run in ended {
        let Settlement { state, event, .. } = run.settlement;
        let of = (run.queue.tenant, run.job);
        events.add(
            of,
            run.event_seq + 1,
            event,
            run.attempt,
            &run.settlement.event_data(),
        )?;
        changes.moved(run.queue, run.from, state);
    }
    let ((), (), (), slots) = futures::try_join!(
        settle_jobs(tx, ended, now),
        close_attempts(tx, ended, now),
        events.insert(tx, now),
        changes.apply(tx)
    )?;
    Ok(slots)
}

fn column<T>(ended: &[Ended], pick: impl Fn(&Ended) -> T) -> Vec<T> {
    ended.iter().map(pick).collect()
}

async fn settle_jobs(tx: &Transaction<'_>, ended: &[Ended], now: Timestamp) -> Result<(), Failure> {
    let results = ended
        .iter()
        .map(|run| jsonb_or_null(run.settlement.result.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let errors = ended
        .iter()
        .map(|run| jsonb_or_null(run.settlement.error.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let settle = tx.prepare_cached(SETTLE).await?;
    tx.execute(
        &settle,
        &[
            &now,
            &column(ended, |run| run.job.as_uuid()),
            &column(ended, |run| run.settlement.state.as_str()),
            &column(ended, |run| int(run.settlement.failures)),
            &column(ended, |run| run.settlement.run_after),
            &results,
            &errors,
            &column(ended, |run| run.fence),
            &column(ended, |run| run.event_seq + 1),
            &column(ended, |run| run.settlement.state.is_finished()),
        ],
    )
    .await?;
    Ok(())
}

async fn close_attempts(
    tx: &Transaction<'_>,
    ended: &[Ended],
    now: Timestamp,
) -> Result<(), Failure> {
    let errors = ended
        .iter()
        .map(|run| jsonb_or_null(run.settlement.error.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let close = tx.prepare_cached(CLOSE_ATTEMPTS).await?;
    tx.execute(
        &close,
        &[
            &now,
            &column(ended, |run| run.job.as_uuid()),
            &column(ended, |run| int(run.attempt)),
            &column(ended, |run| run.settlement.outcome.as_str()),
            &errors,
        ],
    )
    .await?;
    Ok(())
}
