//! What a person asks of a whole queue.

use application::ports::{QueueAction, StoreError};
use domain::{JobKind, SlotSnapshot, TenantId};

use crate::SqliteStore;
use crate::error::failed;
use crate::rows::Reader;
use crate::slots;

pub async fn steer_queues(
    store: &SqliteStore,
    tenant: TenantId,
    kind: Option<JobKind>,
    action: QueueAction,
) -> Result<Option<Vec<SlotSnapshot>>, StoreError> {
    let (paused, draining) = match action {
        QueueAction::Pause => (Some(true), None),
        QueueAction::Drain => (None, Some(true)),
        QueueAction::Resume => (Some(false), Some(false)),
    };
    let mut tx = store.write().await?;
    let queues = sqlx::query(
        "UPDATE tenant_slots
         SET paused = coalesce(?1, paused), draining = coalesce(?2, draining), version = version + 1
         WHERE tenant_id = ?3 AND kind = coalesce(?4, kind)
         RETURNING tenant_id, kind",
    )
    .bind(paused)
    .bind(draining)
    .bind(tenant.as_uuid())
    .bind(kind.map(JobKind::as_str))
    .fetch_all(&mut *tx)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| Reader(row).queue())
    .collect::<Result<Vec<_>, _>>()?;
    if queues.is_empty() {
        return Ok(None);
    }
    let slots = slots::read(&mut tx, queues).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Some(slots))
}
