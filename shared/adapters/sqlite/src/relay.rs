//! RELAY: which queues get their wake-ups next, and taking counts back where sending failed.

use application::ports::{Relayed, StoreError, Wakeups};
use domain::{RELAY_WINDOW_SPARE, SlotSnapshot, Timestamp};
use sqlx::SqliteExecutor;

use crate::SqliteStore;
use crate::error::failed;
use crate::slots::{Deltas, snapshot};

pub async fn relay(store: &SqliteStore, limit: u32, now: Timestamp) -> Result<Relayed, StoreError> {
    // Most often there is nothing to send, and nobody who writes has to wait for this look.
    if candidates(&store.readers, 1).await?.is_empty() {
        return Ok(Relayed::default());
    }
    let mut tx = store.write().await?;
    let mut publish = Vec::new();
    let mut deltas = Deltas::default();
    let mut left = limit;
    for slot in candidates(&mut *tx, limit).await? {
        let n = slot.to_relay().min(left);
        if n == 0 {
            break;
        }
        left -= n;
        let delta = deltas.of(slot.queue);
        delta.published += i64::from(n);
        delta.touched = Some(now);
        let queue = slot.queue;
        publish.push(Wakeups { queue, n });
    }
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    let more = left == 0;
    Ok(Relayed {
        publish,
        slots,
        more,
    })
}

/// Queues with due jobs and room in their window, those with the fewest wake-ups first, then those that were touched
/// longest ago: a queue that waits never stands behind one that is served. Each takes at least one wake-up, so `limit`
/// queues are enough.
async fn candidates(
    executor: impl SqliteExecutor<'_>,
    limit: u32,
) -> Result<Vec<SlotSnapshot>, StoreError> {
    sqlx::query(
        "SELECT s.*, t.weight, t.active, t.budget_until
         FROM tenant_slots AS s INDEXED BY tenant_slots_behind CROSS JOIN tenants AS t ON t.id = s.tenant_id
         WHERE s.behind AND s.published < 2 * s.quota + ?1 AND NOT s.paused AND t.active
           AND (s.kind <> 'session' OR t.budget_until IS NULL)
         ORDER BY s.published, s.touched_at, s.tenant_id, s.kind
         LIMIT +?2",
    )
    .bind(i64::from(RELAY_WINDOW_SPARE))
    .bind(limit)
    .fetch_all(executor)
    .await
    .map_err(failed)?
    .iter()
    .map(snapshot)
    .collect()
}

pub async fn unpublish(
    store: &SqliteStore,
    wakeups: &[Wakeups],
) -> Result<Vec<SlotSnapshot>, StoreError> {
    let mut tx = store.write().await?;
    let mut deltas = Deltas::default();
    for wakeups in wakeups {
        deltas.of(wakeups.queue).published -= i64::from(wakeups.n);
    }
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(slots)
}
