//! What a person or client asks of one job.

use application::ports::{Refused, SteerError, Steered, StoreError};
use domain::{Action, EventKind, Job, JobId, JobState, TenantId, Timestamp};
use serde_json::Map;

use crate::error::{corrupt, failed};
use crate::moves::{self, Move};
use crate::rows::{Stored, stored};
use crate::slots::Deltas;
use crate::submit::{backlogs, give_wakeups};
use crate::{SqliteStore, Write, budgets};

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
    let is_asked_already = before.job.stop_requested_at == after.stop_requested_at
        && before.job.pause_requested_at == after.pause_requested_at;
    if before.job.state().holds_slot() && is_asked_already {
        return Ok(Some(Steered {
            job: before.job,
            publish: Vec::new(),
            slots: Vec::new(),
            to_release: false,
        }));
    }
    let mut backlog = backlogs(&mut tx, [tenant].into_iter())
        .await?
        .remove(&tenant)
        .ok_or(Refused::TenantUnknown(tenant))?;
    if action == Action::Resume {
        backlog.month_lasts(&before.job, now)?;
    }
    if after.state() == JobState::Queued {
        backlog.take_again(&before.job)?;
    }
    if action.grants() {
        budgets::grant(&mut tx, job).await??;
    }
    let slot = backlog
        .slots
        .iter()
        .find(|slot| slot.queue == after.queue());
    let slot = slot.ok_or_else(|| {
        let kind = after.kind();
        corrupt(format!("tenant {tenant} has no slots of kind {kind}"))
    })?;
    let moves = [Move {
        event: event_of(&before.job, &after),
        before,
        after,
        data: Map::new(),
    }];
    let mut deltas = Deltas::default();
    let to_release = moves::write(&mut tx, &moves, now, &mut deltas).await?;
    let publish = give_wakeups(slot, deltas.of(slot.queue), now);
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    let [Move { after, .. }] = moves;
    Ok(Some(Steered {
        job: after,
        publish: publish.into_iter().collect(),
        slots,
        to_release,
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

fn event_of(before: &Job, after: &Job) -> EventKind {
    match after.state() {
        JobState::Queued => EventKind::Queued,
        JobState::Cancelled => EventKind::Cancelled,
        JobState::Stopped => EventKind::Stopped,
        _ if before.stop_requested_at == after.stop_requested_at => EventKind::PauseRequested,
        _ => EventKind::StopRequested,
    }
}
