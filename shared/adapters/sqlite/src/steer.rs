//! What a person or client asks of one job.

use application::ports::{Message, Refused, SteerError, Steered, StoreError};
use domain::{Action, EventKind, Job, JobId, JobState, SlotSnapshot, TenantId, Timestamp};
use sqlx::SqliteConnection;

use crate::error::{corrupt, failed};
use crate::events::{self, EventRow};
use crate::rows::{Stored, stored};
use crate::slots::{self, Deltas};
use crate::submit::{backlogs, is_due, room_to_publish};
use crate::{SqliteStore, Write};

pub async fn steer(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
    action: Action,
    now: Timestamp,
) -> Result<Option<Steered>, SteerError> {
    let mut tx = store.write().await?;
    let Some(before) = load(&mut tx, tenant, job).await? else {
        return Ok(None);
    };
    let after = before.job.clone().steer(action, now)?;
    if before.job.state().holds_slot() && before.job.stop_requested_at.is_some() {
        return Ok(Some(Steered {
            job: before.job,
            publish: Vec::new(),
            slots: Vec::new(),
        }));
    }
    let slot = slots::read(&mut tx, [after.queue()])
        .await?
        .pop()
        .ok_or_else(|| {
            corrupt(format!(
                "tenant {tenant} has no slots of kind {}",
                after.kind()
            ))
        })?;
    let waits_anew = after.state() == JobState::Queued;
    if waits_anew {
        check_backlog(&mut tx, &before.job).await?;
    }
    let publish = waits_anew && is_due(&after, now) && room_to_publish(&slot) > 0;
    write(&mut tx, &before, &after, publish.then_some(now)).await?;
    let slots = move_counts(&mut tx, &before, &after, publish).await?;
    tx.commit().await.map_err(failed)?;
    let message = Message {
        queue: after.queue(),
        job: after.id,
        priority: after.priority,
    };
    Ok(Some(Steered {
        job: after,
        publish: publish.then_some(message).into_iter().collect(),
        slots,
    }))
}

async fn load(tx: &mut Write, tenant: TenantId, job: JobId) -> Result<Option<Stored>, StoreError> {
    sqlx::query("SELECT * FROM jobs WHERE id = ? AND tenant_id = ?")
        .bind(job.as_uuid())
        .bind(tenant.as_uuid())
        .fetch_optional(&mut **tx)
        .await
        .map_err(failed)?
        .as_ref()
        .map(stored)
        .transpose()
}

/// A job that is to be queued needs room like a new one; a pending one has had its place already.
async fn check_backlog(tx: &mut Write, job: &Job) -> Result<(), SteerError> {
    let mut backlog = backlogs(tx, [job.tenant].into_iter())
        .await?
        .remove(&job.tenant)
        .ok_or(Refused::TenantUnknown(job.tenant))?;
    if job.state() == JobState::Pending {
        backlog = backlog.without_one();
    }
    Ok(backlog.take(job.tenant, 1)?)
}

fn event_of(after: &Job) -> EventKind {
    match after.state() {
        JobState::Queued => EventKind::Queued,
        JobState::Cancelled => EventKind::Cancelled,
        JobState::Stopped => EventKind::Stopped,
        _ => EventKind::StopRequested,
    }
}

async fn write(
    connection: &mut SqliteConnection,
    before: &Stored,
    after: &Job,
    published_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let micros = |time: Option<Timestamp>| time.map(|time| time.timestamp_micros());
    let seq = before.event_seq + 1;
    sqlx::query(
        "UPDATE jobs
         SET state = ?, failures = ?, run_after = ?, stop_requested_at = ?, queued_at = ?, finished_at = ?,
             updated_at = ?, published_at = ?, event_seq = ?
         WHERE id = ?",
    )
    .bind(after.state().as_str())
    .bind(after.failures)
    .bind(micros(after.run_after))
    .bind(micros(after.stop_requested_at))
    .bind(micros(after.queued_at))
    .bind(micros(after.finished_at))
    .bind(after.updated_at.timestamp_micros())
    .bind(micros(published_at))
    .bind(seq)
    .bind(after.id.as_uuid())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let event = EventRow::of(after, seq, event_of(after), after.updated_at);
    events::write(connection, &[event]).await
}

async fn move_counts(
    connection: &mut SqliteConnection,
    before: &Stored,
    after: &Job,
    publish: bool,
) -> Result<Vec<SlotSnapshot>, StoreError> {
    let counted = |state: JobState, job: &Job| i64::from(job.state() == state);
    let moved = |state| counted(state, after) - counted(state, &before.job);
    let mut deltas = Deltas::default();
    let delta = deltas.of(after.queue());
    delta.pending = moved(JobState::Pending);
    delta.queued = moved(JobState::Queued);
    delta.published = i64::from(publish) - i64::from(before.published);
    deltas.apply(connection).await
}
