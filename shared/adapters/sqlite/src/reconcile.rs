//! RECONCILE: counts made right again, and messages that nobody took forgotten.

use std::time::Duration;

use application::ports::{Reconciled, StoreError};
use domain::{QueueKey, SlotSnapshot, Timestamp};
use sqlx::sqlite::SqliteRow;

use crate::error::failed;
use crate::rows::Reader;
use crate::slots::{self, Delta, Deltas, snapshot};
use crate::{SqliteStore, Write};

pub async fn reconcile(
    store: &SqliteStore,
    stale: Duration,
    now: Timestamp,
) -> Result<Reconciled, StoreError> {
    // One statement sees one instant, so what is counted here is right and holds no lock; only where it finds
    // something wrong is it counted again under the lock.
    let suspects = sqlx::query(DRIFTED)
        .fetch_all(&store.readers)
        .await
        .map_err(failed)?;
    let mut tx = store.write().await?;
    let mut drifted = Vec::new();
    if !suspects.is_empty() {
        drifted = repair(&mut tx).await?;
    }
    let taken_back = take_back_stale(&mut tx, now - stale).await?;
    let unpublished = u32::try_from(taken_back.len()).unwrap_or(u32::MAX);
    let mut changed: Vec<QueueKey> = drifted.iter().chain(&taken_back).copied().collect();
    changed.sort_unstable();
    changed.dedup();
    let mut deltas = Deltas::default();
    for queue in taken_back {
        deltas.of(queue).published -= 1;
    }
    deltas.apply(&mut tx).await?;
    let slots = slots::read(&mut tx, changed).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Reconciled {
        drifted,
        unpublished,
        slots,
    })
}

/// Queues whose counts are not what their jobs say, with the differences. Each count walks one index, over live jobs
/// only.
const DRIFTED: &str = "
    WITH counted AS (
        SELECT s.*,
               (SELECT count(*) FROM jobs AS j
                WHERE j.tenant_id = s.tenant_id AND j.state = 'pending' AND j.kind = s.kind) - s.pending AS more_pending,
               (SELECT count(*) FROM jobs AS j
                WHERE j.tenant_id = s.tenant_id AND j.state = 'queued' AND j.kind = s.kind) - s.queued AS more_queued,
               (SELECT count(*) FROM jobs AS j
                WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind
                  AND j.state = 'queued' AND j.published_at IS NOT NULL) - s.published AS more_published,
               (SELECT count(*) FROM jobs AS j
                WHERE j.tenant_id = s.tenant_id AND j.state IN ('running', 'degraded') AND j.kind = s.kind)
                   - s.running AS more_running
        FROM tenant_slots AS s)
    SELECT * FROM counted
    WHERE more_pending <> 0 OR more_queued <> 0 OR more_published <> 0 OR more_running <> 0
    ORDER BY tenant_id, kind";

async fn repair(tx: &mut Write) -> Result<Vec<QueueKey>, StoreError> {
    let rows = sqlx::query(DRIFTED)
        .fetch_all(&mut **tx)
        .await
        .map_err(failed)?;
    let mut deltas = Deltas::default();
    let mut drifted = Vec::with_capacity(rows.len());
    for row in &rows {
        let (queue, delta) = difference(row)?;
        *deltas.of(queue) = delta;
        drifted.push(queue);
    }
    deltas.apply(tx).await?;
    Ok(drifted)
}

fn difference(row: &SqliteRow) -> Result<(QueueKey, Delta), StoreError> {
    let row = Reader(row);
    let delta = Delta {
        pending: row.get("more_pending")?,
        queued: row.get("more_queued")?,
        published: row.get("more_published")?,
        running: row.get("more_running")?,
    };
    Ok((row.queue()?, delta))
}

/// The queue of every job whose message was taken back.
async fn take_back_stale(tx: &mut Write, deadline: Timestamp) -> Result<Vec<QueueKey>, StoreError> {
    sqlx::query(
        "UPDATE jobs SET published_at = NULL
         WHERE id IN (SELECT j.id FROM tenant_slots AS s
                      CROSS JOIN jobs AS j ON j.tenant_id = s.tenant_id AND j.kind = s.kind
                      WHERE s.published > 0 AND s.running < s.quota
                        AND j.state = 'queued' AND j.published_at < ?)
         RETURNING tenant_id, kind",
    )
    .bind(deadline.timestamp_micros())
    .fetch_all(&mut **tx)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| Reader(row).queue())
    .collect()
}

pub async fn forget_published(store: &SqliteStore) -> Result<Vec<SlotSnapshot>, StoreError> {
    let mut tx = store.write().await?;
    sqlx::query(
        "UPDATE jobs SET published_at = NULL WHERE state = 'queued' AND published_at IS NOT NULL",
    )
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    let queues = sqlx::query(
        "UPDATE tenant_slots SET published = 0, version = version + 1 WHERE published > 0
         RETURNING tenant_id, kind",
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(failed)?
    .iter()
    .map(|row| Reader(row).queue())
    .collect::<Result<Vec<_>, _>>()?;
    let slots = slots::read(&mut tx, queues).await?;
    tx.commit().await.map_err(failed)?;
    Ok(slots)
}

pub async fn slots(store: &SqliteStore, limit: u32) -> Result<Vec<SlotSnapshot>, StoreError> {
    sqlx::query(
        "SELECT s.*, t.weight, t.active
         FROM tenant_slots AS s JOIN tenants AS t ON t.id = s.tenant_id
         WHERE s.queued > 0 OR s.running > 0
         ORDER BY s.tenant_id, s.kind LIMIT ?",
    )
    .bind(limit)
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?
    .iter()
    .map(snapshot)
    .collect()
}
