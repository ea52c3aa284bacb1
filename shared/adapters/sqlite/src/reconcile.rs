//! RECONCILE: counts made right again, and queues named whose wake-ups may be lost.

use std::time::Duration;

use application::ports::{Reconciled, StoreError};
use domain::{QueueKey, SlotSnapshot, Timestamp};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;

use crate::batch::{Hex, json};
use crate::error::failed;
use crate::rows::Reader;
use crate::slots::{self, Delta, Deltas, snapshot};
use crate::{SqliteStore, Write};

pub async fn reconcile(
    store: &SqliteStore,
    silence: Duration,
    now: Timestamp,
) -> Result<Reconciled, StoreError> {
    // One statement sees one instant, so what is counted here is right and holds no lock; only where it finds
    // something wrong is it counted again under the lock.
    let suspects = sqlx::query(DRIFTED)
        .fetch_all(&store.readers)
        .await
        .map_err(failed)?;
    let (drifted, slots) = if suspects.is_empty() {
        Default::default()
    } else {
        let mut tx = store.write().await?;
        let repaired = repair(&mut tx).await?;
        tx.commit().await.map_err(failed)?;
        repaired
    };
    Ok(Reconciled {
        drifted,
        slots,
        silent: silent(store, now - silence).await?,
    })
}

/// Queues whose counts are not what their jobs say, with the differences. Each count walks one index, over live jobs
/// only.
const DRIFTED: &str = "
    WITH counted AS (
        SELECT s.tenant_id, s.kind,
               (SELECT count(*) FROM jobs AS j INDEXED BY jobs_by_state
                WHERE j.tenant_id = s.tenant_id AND j.state = 'pending' AND j.kind = s.kind) - s.pending AS more_pending,
               (SELECT count(*) FROM jobs AS j INDEXED BY jobs_by_state
                WHERE j.tenant_id = s.tenant_id AND j.state = 'queued' AND j.kind = s.kind) - s.queued AS more_queued,
               (SELECT count(*) FROM jobs AS j INDEXED BY jobs_turns
                WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind
                  AND j.state = 'queued' AND j.due AND j.requires IS NULL) - s.due AS more_due,
               (SELECT count(*) FROM jobs AS j INDEXED BY jobs_by_state
                WHERE j.tenant_id = s.tenant_id AND j.state IN ('running', 'degraded') AND j.kind = s.kind)
                   - s.running AS more_running
        FROM tenant_slots AS s)
    SELECT * FROM counted
    WHERE more_pending <> 0 OR more_queued <> 0 OR more_due <> 0 OR more_running <> 0
    ORDER BY tenant_id, kind";

async fn repair(tx: &mut Write) -> Result<(Vec<QueueKey>, Vec<SlotSnapshot>), StoreError> {
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
    let slots = deltas.apply(tx).await?;
    Ok((drifted, slots))
}

fn difference(row: &SqliteRow) -> Result<(QueueKey, Delta), StoreError> {
    let row = Reader(row);
    let delta = Delta {
        pending: row.get("more_pending")?,
        queued: row.get("more_queued")?,
        due: row.get("more_due")?,
        running: row.get("more_running")?,
        ..Delta::default()
    };
    Ok((row.queue()?, delta))
}

/// Queues that could have been served since `deadline`, have wake-ups, and were not.
async fn silent(store: &SqliteStore, deadline: Timestamp) -> Result<Vec<SlotSnapshot>, StoreError> {
    sqlx::query(
        "SELECT s.*, t.weight, t.active, t.budget_until
         FROM tenant_slots AS s CROSS JOIN tenants AS t ON t.id = s.tenant_id
         WHERE s.published > 0 AND s.due > 0 AND s.running < s.quota AND NOT s.paused AND s.touched_at <= ?
           AND t.active AND (s.kind <> 'session' OR t.budget_until IS NULL)
         ORDER BY s.tenant_id, s.kind",
    )
    .bind(deadline.timestamp_micros())
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?
    .iter()
    .map(snapshot)
    .collect()
}

#[derive(Debug, Serialize)]
struct CountedRow(Hex, &'static str, i64, u32);

pub async fn recount_published(
    store: &SqliteStore,
    counted: &[(SlotSnapshot, u32)],
) -> Result<Vec<SlotSnapshot>, StoreError> {
    let rows: Vec<CountedRow> = counted
        .iter()
        .map(|(slot, published)| {
            let tenant = Hex(slot.queue.tenant.as_uuid());
            CountedRow(tenant, slot.queue.kind.as_str(), slot.version, *published)
        })
        .collect();
    let mut tx = store.write().await?;
    let queues = sqlx::query(
        "UPDATE tenant_slots SET published = c.published, version = tenant_slots.version + 1
         FROM (SELECT unhex(value ->> 0) AS tenant_id, value ->> 1 AS kind, value ->> 2 AS version,
                      value ->> 3 AS published
               FROM jsonb_each(?)) AS c
         WHERE tenant_slots.tenant_id = c.tenant_id AND tenant_slots.kind = c.kind
           AND tenant_slots.version = c.version AND tenant_slots.published <> c.published
         RETURNING tenant_id, kind",
    )
    .bind(json(&rows)?)
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

pub async fn forget_published(store: &SqliteStore) -> Result<Vec<SlotSnapshot>, StoreError> {
    let mut tx = store.write().await?;
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
        "SELECT s.*, t.weight, t.active, t.budget_until
         FROM tenant_slots AS s CROSS JOIN tenants AS t ON t.id = s.tenant_id
         WHERE s.queued > 0 OR s.running > 0
         ORDER BY s.tenant_id, s.kind LIMIT +?",
    )
    .bind(limit)
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?
    .iter()
    .map(snapshot)
    .collect()
}
