//! Jobs that wait and go on, or end, without a run: written by EXPIRE and RELEASE under the locks of their queues.

use std::sync::LazyLock;

use deadpool_postgres::Transaction;
use domain::{EventKind, Job, JobError, JobState, Status, Timestamp, fingerprint, turn};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::dependents;
use crate::error::Failure;
use crate::events::{Events, data};
use crate::json::{jsonb_or_null, text};
use crate::rows::{self, JOB, StoredJob};
use crate::slots::{self, Changes, Keys};

use application::ports::Moved;

/// Behind the lock of their queues; some may have moved on since they were found.
static LOCK: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {JOB} FROM jobs j
        WHERE j.id = ANY ($1::uuid[]) AND j.state IN ('pending', 'queued', 'paused')
        ORDER BY j.id FOR UPDATE"
    )
});

const WRITE: &str = "UPDATE jobs j SET state = e.state, error = coalesce(e.error, j.error), fingerprint = e.fingerprint,
        run_after = e.run_after, due = e.due, queued_at = e.queued_at, turn = e.turn, finished_at = e.finished_at,
        unmet = CASE WHEN e.state = 'queued' THEN 0 ELSE j.unmet END, updated_at = $1, event_seq = j.event_seq + 1
    FROM unnest($2::uuid[], $3::text[], $4::jsonb[], $5::text[], $6::timestamptz[], $7::bool[], $8::timestamptz[],
            $9::timestamptz[], $10::timestamptz[])
        AS e (id, state, error, fingerprint, run_after, due, queued_at, turn, finished_at)
    WHERE j.id = e.id";

/// Locks all queues of the jobs' tenants, because whoever writes an edge holds those, and the jobs.
pub(crate) async fn lock(
    tx: &Transaction<'_>,
    jobs: &[tokio_postgres::Row],
) -> Result<Vec<StoredJob>, Failure> {
    let ids: Vec<Uuid> = jobs
        .iter()
        .map(|row| rows::get(row, "id"))
        .collect::<Result<_, _>>()?;
    let tenants: Vec<Uuid> = jobs
        .iter()
        .map(|row| rows::get(row, "tenant_id"))
        .collect::<Result<_, _>>()?;
    let keys = Keys::of_tenants(tenants.into_iter().map(domain::TenantId::from_uuid));
    slots::lock(tx, &keys).await?;
    let lock = tx.prepare_cached(&LOCK).await?;
    let rows = tx.query(&lock, &[&ids]).await?;
    rows.iter().map(rows::job).collect()
}

/// A locked job with what becomes of it.
pub(crate) struct Move {
    before: StoredJob,
    after: Job,
    event: EventKind,
    data: Map<String, Value>,
}

impl Move {
    /// Nothing holds it back any more.
    pub(crate) fn queued(before: StoredJob, now: Timestamp) -> Self {
        let job = before.job.clone();
        let after = Job {
            status: Status::Queued,
            run_after: job.run_after.filter(|at| *at > now),
            queued_at: Some(now),
            turn: Some(turn(job.priority, now)),
            updated_at: now,
            ..job
        };
        Self {
            before,
            after,
            event: EventKind::Queued,
            data: Map::new(),
        }
    }

    pub(crate) fn failed(before: StoredJob, error: JobError, now: Timestamp) -> Self {
        let data = data([("error", serde_json::json!(error))]);
        let after = Job {
            status: Status::Failed,
            error: Some(error),
            finished_at: Some(now),
            updated_at: now,
            ..before.job.clone()
        };
        Self {
            before,
            after,
            event: EventKind::Failed,
            data,
        }
    }

    pub(crate) fn cancelled(before: StoredJob, reason: String, now: Timestamp) -> Self {
        let after = Job {
            status: Status::Cancelled,
            finished_at: Some(now),
            updated_at: now,
            ..before.job.clone()
        };
        Self {
            before,
            after,
            event: EventKind::Cancelled,
            data: data([("reason", reason.into())]),
        }
    }

    const fn is_failed(&self) -> bool {
        matches!(self.after.status, Status::Failed)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.after.run_after.is_none_or(|at| at <= now)
    }
}

/// Writes jobs, events, slots and edges; a job that was pending waits for nobody from now on.
pub(crate) async fn write(
    tx: &Transaction<'_>,
    moves: Vec<Move>,
    now: Timestamp,
) -> Result<Moved, Failure> {
    if moves.is_empty() {
        return Ok(Moved::default());
    }
    let mut events = Events::default();
    let mut changes = Changes::default();
    for one in &moves {
        let after = &one.after;
        let seq = one.before.event_seq + 1;
        events.add(
            (after.tenant, after.id),
            seq,
            one.event,
            after.attempt,
            &one.data,
        )?;
        let from = (one.before.job.state(), one.before.is_ready());
        let queued = after.state() == JobState::Queued;
        let ready = queued && one.is_due(now) && after.requires.is_empty();
        changes.moved(after.queue(), from, (after.state(), ready));
    }
    write_jobs(tx, &moves, now).await?;
    events.insert(tx, now).await?;
    let slots = changes.apply(tx, now).await?;
    let pending: Vec<&Job> = moves
        .iter()
        .filter(|one| one.before.job.state() == JobState::Pending)
        .map(|one| &one.after)
        .collect();
    dependents::forget(tx, &pending).await?;
    let states = moves.iter().map(|one| (one.after.id, one.after.state()));
    let to_release = dependents::tell(tx, states).await?;
    Ok(Moved {
        jobs: moves.into_iter().map(|one| one.after).collect(),
        slots,
        to_release,
    })
}

async fn write_jobs(tx: &Transaction<'_>, moves: &[Move], now: Timestamp) -> Result<(), Failure> {
    fn column<'a, T>(moves: &'a [Move], pick: impl Fn(&'a Move) -> T) -> Vec<T> {
        moves.iter().map(pick).collect()
    }
    let fingerprints = column(moves, |one| {
        let error = one.after.error.as_ref().filter(|_| one.is_failed());
        error.map(|error| text(&fingerprint(error)))
    });
    let errors = moves
        .iter()
        .map(|one| jsonb_or_null(one.after.error.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let write = tx.prepare_cached(WRITE).await?;
    tx.execute(
        &write,
        &[
            &now,
            &column(moves, |one| one.after.id.as_uuid()),
            &column(moves, |one| one.after.state().as_str()),
            &errors,
            &fingerprints,
            &column(moves, |one| one.after.run_after),
            &column(moves, |one| one.is_due(now)),
            &column(moves, |one| one.after.queued_at),
            &column(moves, |one| one.after.turn),
            &column(moves, |one| one.after.finished_at),
        ],
    )
    .await?;
    Ok(())
}
