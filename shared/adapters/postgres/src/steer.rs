//! What a person or client asks of one job, decided by the domain on the locked row.

use std::sync::LazyLock;

use application::ports::{Refused, SteerError, Steered};
use deadpool_postgres::Transaction;
use domain::{Action, EventKind, Job, JobId, JobKind, JobState, TenantId, Timestamp};
use serde_json::Map;

use crate::PostgresStore;
use crate::budgets;
use crate::dependents;
use crate::error::Failure;
use crate::events::{self, Events};
use crate::pipeline::prepare;
use crate::rows::{self, JOB, StoredJob, int};
use crate::slots::{self, Changes, Keys, Slots};
use crate::submit::{backlog, is_ready, not_draining, room};

static LOCK_JOB: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {JOB} FROM jobs j WHERE j.tenant_id = $1 AND j.id = $2 FOR UPDATE")
});

const WRITE: &str =
    "UPDATE jobs SET state = $2, failures = $3, run_after = $4, stop_requested_at = $5,
        due = $6, updated_at = $7, queued_at = $8, turn = $9, finished_at = $10, event_seq = $11,
        deadline = $12, pause_requested_at = $13,
        unmet = CASE WHEN $2 = 'pending' THEN unmet ELSE 0 END,
        fingerprint = CASE WHEN $2 = 'queued' THEN NULL ELSE fingerprint END
    WHERE id = $1";

/// The outer result is the store's, the inner one the answer to the client.
pub(crate) async fn steer(
    store: &PostgresStore,
    tenant: TenantId,
    job: JobId,
    action: Action,
    now: Timestamp,
) -> Result<Result<Option<Steered>, SteerError>, Failure> {
    // All queues of the tenant: the limit on its backlog counts them together.
    let keys = Keys::of_tenants([tenant]);
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(
        &tx,
        &[
            slots::LOCK,
            &slots::READ,
            &LOCK_JOB,
            WRITE,
            events::INSERT,
            &slots::APPLY,
        ],
    )
    .await?;
    let ((), slots, found) = futures::try_join!(
        slots::lock(&tx, &keys),
        slots::read(&tx, &keys),
        lock_job(&tx, tenant, job)
    )?;
    let Some(before) = found else {
        return Ok(Ok(None));
    };
    let after = match decide(&before.job, action, &slots, now) {
        Ok(after) => after,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if action.grants()
        && let Err(refused) = budgets::grant(&tx, job).await?
    {
        return Ok(Err(refused.into()));
    }
    let Some(event) = event(&before.job, &after) else {
        return Ok(Ok(Some(unchanged(before.job))));
    };
    let steered = write(&tx, &before, after, event, &slots, now).await?;
    tx.commit().await?;
    Ok(Ok(Some(steered)))
}

async fn lock_job(
    tx: &Transaction<'_>,
    tenant: TenantId,
    job: JobId,
) -> Result<Option<StoredJob>, Failure> {
    let lock = tx.prepare_cached(&LOCK_JOB).await?;
    let row = tx
        .query_opt(&lock, &[&tenant.as_uuid(), &job.as_uuid()])
        .await?;
    row.as_ref().map(rows::job).transpose()
}

fn decide(before: &Job, action: Action, slots: &Slots, now: Timestamp) -> Result<Job, SteerError> {
    let after = before.clone().steer(action, now)?;
    if action == Action::Resume {
        month_lasts(before, slots, now)?;
    }
    if after.state() == JobState::Queued {
        room_for(before, slots)?;
        not_draining(before.queue(), slots)?;
    }
    Ok(after)
}

/// Whether its tenant may go on with sessions in this month.
fn month_lasts(before: &Job, slots: &Slots, now: Timestamp) -> Result<(), Refused> {
    let slot = slots.get(&before.queue());
    let until = slot.and_then(|slot| slot.budget_until);
    match until.filter(|until| *until > now && before.kind() == JobKind::Session) {
        Some(until) => Err(Refused::month_used_up(until, now)),
        None => Ok(()),
    }
}

/// A pending job is part of the backlog already; it must not count twice.
fn room_for(before: &Job, slots: &Slots) -> Result<(), Refused> {
    let counted = u32::from(before.state() == JobState::Pending);
    let waiting = backlog(before.tenant, slots).saturating_sub(counted);
    room(before.tenant, slots, waiting, 1)
}

/// `None`: nothing changed that a reader would want to know, so nothing is written.
fn event(before: &Job, after: &Job) -> Option<EventKind> {
    match after.state() {
        JobState::Queued => Some(EventKind::Queued),
        JobState::Cancelled => Some(EventKind::Cancelled),
        JobState::Stopped => Some(EventKind::Stopped),
        _ if before.stop_requested_at != after.stop_requested_at => Some(EventKind::StopRequested),
        _ => (before.pause_requested_at != after.pause_requested_at)
            .then_some(EventKind::PauseRequested),
    }
}

fn unchanged(job: Job) -> Steered {
    Steered {
        job,
        publish: Vec::new(),
        slots: Vec::new(),
        to_release: false,
    }
}

async fn write(
    tx: &Transaction<'_>,
    before: &StoredJob,
    after: Job,
    event: EventKind,
    slots: &Slots,
    now: Timestamp,
) -> Result<Steered, Failure> {
    let mut changes = Changes::default();
    changes.moved(
        after.queue(),
        (before.job.state(), before.is_ready()),
        (after.state(), is_ready(&after, now)),
    );
    let publish = changes.publish(slots);
    let seq = before.event_seq + 1;
    let mut events = Events::default();
    events.add(
        (after.tenant, after.id),
        seq,
        event,
        after.attempt,
        &Map::new(),
    )?;
    let ((), (), slots) = futures::try_join!(
        write_job(tx, &after, seq, now),
        events.insert(tx, now),
        changes.apply(tx, now)
    )?;
    if before.job.state() == JobState::Pending {
        // Started or ended by a person, it waits for nobody any more.
        dependents::forget(tx, &[&after]).await?;
    }
    let to_release = dependents::tell(tx, [(after.id, after.state())]).await?;
    Ok(Steered {
        job: after,
        publish,
        slots,
        to_release,
    })
}

async fn write_job(
    tx: &Transaction<'_>,
    job: &Job,
    event_seq: i64,
    now: Timestamp,
) -> Result<(), Failure> {
    let write = tx.prepare_cached(WRITE).await?;
    tx.execute(
        &write,
        &[
            &job.id.as_uuid(),
            &job.state().as_str(),
            &int(job.failures),
            &job.run_after,
            &job.stop_requested_at,
            &job.run_after.is_none_or(|at| at <= now),
            &now,
            &job.queued_at,
            &job.turn,
            &job.finished_at,
            &event_seq,
            &job.deadline,
            &job.pause_requested_at,
        ],
    )
    .await?;
    Ok(())
}
