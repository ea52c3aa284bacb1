//! RELAY: which jobs get their messages next, and taking marks back where sending failed.

use std::collections::BTreeSet;

use application::ports::{Message, Relayed, StoreError};
use domain::{QueueKey, RELAY_WINDOW_SPARE, SlotSnapshot, Timestamp};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::batch::ids;
use crate::error::failed;
use crate::rows::{Reader, priority};
use crate::slots::Deltas;

pub async fn relay(store: &SqliteStore, limit: u32, now: Timestamp) -> Result<Relayed, StoreError> {
    let mut tx = store.write().await?;
    let mut publish = Vec::new();
    for (queue, room) in candidates(&mut tx, limit, now).await? {
        let left = i64::from(limit) - i64::try_from(publish.len()).unwrap_or(i64::MAX);
        if left <= 0 {
            break;
        }
        publish.extend(next(&mut tx, queue, room.min(left), now).await?);
    }
    if publish.is_empty() {
        return Ok(Relayed::default());
    }
    sqlx::query(
        "UPDATE jobs SET published_at = ? WHERE id IN (SELECT unhex(value) FROM json_each(?))",
    )
    .bind(now.timestamp_micros())
    .bind(ids(publish.iter().map(|message| message.job.as_uuid()))?)
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    let mut deltas = Deltas::default();
    for message in &publish {
        deltas.of(message.queue).published += 1;
    }
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Relayed { publish, slots })
}

/// Queues with a job that is due and room in their window, those with the fewest live messages first: a queue that
/// waits never stands behind one that is served. Each has at least one job to give, so `limit` queues are enough.
async fn candidates(
    connection: &mut SqliteConnection,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(QueueKey, i64)>, StoreError> {
    let rows = sqlx::query(
        "SELECT s.tenant_id, s.kind, 2 * s.quota + ?1 - s.published AS room
         FROM tenant_slots AS s JOIN tenants AS t ON t.id = s.tenant_id
         WHERE s.queued > s.published AND s.published < 2 * s.quota + ?1 AND NOT s.paused AND t.active
           AND EXISTS (SELECT 1 FROM jobs AS j
                       WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind
                         AND j.state = 'queued' AND j.published_at IS NULL
                         AND (j.run_after IS NULL OR j.run_after <= ?2))
         ORDER BY s.published, s.tenant_id, s.kind
         LIMIT ?3",
    )
    .bind(i64::from(RELAY_WINDOW_SPARE))
    .bind(now.timestamp_micros())
    .bind(limit)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            let row = Reader(row);
            Ok((row.queue()?, row.get("room")?))
        })
        .collect()
}

async fn next(
    connection: &mut SqliteConnection,
    queue: QueueKey,
    count: i64,
    now: Timestamp,
) -> Result<Vec<Message>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, priority FROM jobs
         WHERE tenant_id = ? AND kind = ? AND state = 'queued' AND published_at IS NULL
           AND (run_after IS NULL OR run_after <= ?)
         ORDER BY priority, id LIMIT ?",
    )
    .bind(queue.tenant.as_uuid())
    .bind(queue.kind.as_str())
    .bind(now.timestamp_micros())
    .bind(count)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            let row = Reader(row);
            Ok(Message {
                queue,
                job: row.job_id("id")?,
                priority: priority(&row)?,
            })
        })
        .collect()
}

pub async fn unpublish(
    store: &SqliteStore,
    messages: Vec<Message>,
) -> Result<Vec<SlotSnapshot>, StoreError> {
    let jobs: BTreeSet<_> = messages
        .iter()
        .map(|message| message.job.as_uuid())
        .collect();
    let mut tx = store.write().await?;
    let rows = sqlx::query(
        "UPDATE jobs SET published_at = NULL
         WHERE id IN (SELECT unhex(value) FROM json_each(?)) AND state = 'queued' AND published_at IS NOT NULL
         RETURNING tenant_id, kind",
    )
    .bind(ids(jobs)?)
    .fetch_all(&mut *tx)
    .await
    .map_err(failed)?;
    let mut deltas = Deltas::default();
    for row in &rows {
        deltas.of(Reader(row).queue()?).published -= 1;
    }
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(slots)
}
