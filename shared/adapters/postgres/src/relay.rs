//! RELAY: the next jobs of each queue get their messages, as far as the queue's window goes.
//!
//! What to publish is decided under the lock of the queue's slots, so two relays never take the same job and the count
//! of live messages stays true.

use std::collections::BTreeMap;

use application::ports::{Message, Relayed};
use deadpool_postgres::Transaction;
use domain::{QueueKey, SlotSnapshot, Timestamp, relay_window};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::Failure;
use crate::pipeline::prepare;
use crate::rows;
use crate::slots::{self, Changes, Keys, Slots};

/// Queues locked by one relay; the rest waits for the next.
const QUEUES_AT_ONCE: u32 = 256;

/// Of the jobs that became due at their `run_after`, so many are put in order at once; with more overdue than that,
/// the longest overdue come first.
const OVERDUE_AT_ONCE: i64 = 10_000;

/// Queues with room and a due job, the emptiest first, so that one with nothing in the broker never waits behind one
/// that is topped up. The inner orders and limits make it a look or two into the index for each queue, whatever the
/// planner knows of the table.
const CANDIDATES: &str = "SELECT s.tenant_id, s.kind FROM tenant_slots s JOIN tenants t ON t.id = s.tenant_id
    CROSS JOIN LATERAL (
        (SELECT FROM jobs j
        WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind AND j.state = 'queued' AND j.published_at IS NULL
            AND j.run_after IS NULL
        ORDER BY j.priority, j.id LIMIT 1)
        UNION ALL
        (SELECT FROM jobs j
        WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind AND j.state = 'queued' AND j.published_at IS NULL
            AND j.run_after <= $3
        ORDER BY j.run_after LIMIT 1)
        LIMIT 1
    ) AS due
    WHERE s.queued > s.published AND s.published < 2::int8 * s.quota + $2 AND NOT s.paused AND t.active
    ORDER BY s.published, random() LIMIT $1";

const PUBLISH: &str = "UPDATE jobs SET published_at = $1
    FROM unnest($2::uuid[], $3::text[], $4::int8[]) AS q (tenant_id, kind, room)
    CROSS JOIN LATERAL (
        SELECT due.id FROM (
            (SELECT j.id, j.priority FROM jobs j
            WHERE j.tenant_id = q.tenant_id AND j.kind = q.kind AND j.state = 'queued' AND j.published_at IS NULL
                AND j.run_after IS NULL
            ORDER BY j.priority, j.id LIMIT q.room)
            UNION ALL
            (SELECT j.id, j.priority FROM jobs j
            WHERE j.tenant_id = q.tenant_id AND j.kind = q.kind AND j.state = 'queued' AND j.published_at IS NULL
                AND j.run_after <= $1
            ORDER BY j.run_after LIMIT $5)
        ) AS due
        ORDER BY due.priority, due.id LIMIT q.room
    ) AS next
    WHERE jobs.id = next.id
    RETURNING jobs.id, jobs.tenant_id, jobs.kind, jobs.priority";

pub(crate) async fn relay(
    store: &PostgresStore,
    limit: u32,
    now: Timestamp,
) -> Result<Relayed, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let keys = candidates(&tx, limit, now).await?;
    if keys.kinds.is_empty() {
        return Ok(Relayed::default());
    }
    prepare(&tx, &[slots::LOCK, &slots::READ]).await?;
    let ((), slots) = futures::try_join!(slots::lock(&tx, &keys), slots::read(&tx, &keys))?;
    let publish = publish(&tx, &share(&slots, limit), now).await?;
    let mut changes = Changes::default();
    for message in &publish {
        changes.of(message.queue).published += 1;
    }
    let slots = changes.apply(&tx).await?;
    tx.commit().await?;
    Ok(Relayed { publish, slots })
}

async fn candidates(tx: &Transaction<'_>, limit: u32, now: Timestamp) -> Result<Keys, Failure> {
    let find = tx.prepare_cached(CANDIDATES).await?;
    let at_once = i64::from(limit.min(QUEUES_AT_ONCE));
    let spare = i64::from(domain::RELAY_WINDOW_SPARE);
    let rows = tx.query(&find, &[&at_once, &spare, &now]).await?;
    let queues: Vec<QueueKey> = rows.iter().map(rows::queue).collect::<Result<_, _>>()?;
    Ok(Keys::of(queues))
}

/// How many jobs each queue may have published: an equal share of `limit`, and what others leave of theirs.
fn share(slots: &Slots, limit: u32) -> BTreeMap<QueueKey, u32> {
    let mut rooms: Vec<(u32, QueueKey)> = slots
        .values()
        .filter(|slot| !slot.seen.paused)
        .map(|slot| (room(&slot.seen), slot.seen.queue))
        .filter(|(room, _)| *room > 0)
        .collect();
    rooms.sort_unstable();
    let mut left = limit;
    let mut queues_left = u32::try_from(rooms.len()).unwrap_or(u32::MAX);
    let mut shares = BTreeMap::new();
    for (room, queue) in rooms {
        let share = room.min(left.div_ceil(queues_left));
        left -= share;
        queues_left -= 1;
        shares.insert(queue, share);
    }
    shares
}

fn room(seen: &SlotSnapshot) -> u32 {
    let window = relay_window(seen.quota).saturating_sub(seen.published);
    window.min(seen.queued.saturating_sub(seen.published))
}

async fn publish(
    tx: &Transaction<'_>,
    shares: &BTreeMap<QueueKey, u32>,
    now: Timestamp,
) -> Result<Vec<Message>, Failure> {
    let keys = Keys::of(shares.keys().copied());
    let rooms: Vec<i64> = shares.values().copied().map(i64::from).collect();
    let publish = tx.prepare_cached(PUBLISH).await?;
    let rows = tx
        .query(
            &publish,
            &[&now, &keys.tenants, &keys.kinds, &rooms, &OVERDUE_AT_ONCE],
        )
        .await?;
    let mut messages = rows.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    messages.sort_unstable_by_key(|message| (message.queue, message.priority.rank(), message.job));
    Ok(messages)
}

fn message(row: &Row) -> Result<Message, Failure> {
    Ok(Message {
        queue: rows::queue(row)?,
        job: rows::job_id(row, "id")?,
        priority: rows::priority(row)?,
    })
}

const UNPUBLISH: &str = "UPDATE jobs SET published_at = NULL
    WHERE id = ANY ($1::uuid[]) AND state = 'queued' AND published_at IS NOT NULL
    RETURNING tenant_id, kind";

/// `EngineStore::unpublish`: these could not be sent.
pub(crate) async fn unpublish(
    store: &PostgresStore,
    messages: Vec<Message>,
) -> Result<Vec<SlotSnapshot>, Failure> {
    let keys = Keys::of(messages.iter().map(|message| message.queue));
    let ids: Vec<Uuid> = messages
        .iter()
        .map(|message| message.job.as_uuid())
        .collect();
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[slots::LOCK, UNPUBLISH]).await?;
    let statement = tx.prepare_cached(UNPUBLISH).await?;
    let ((), rows) = futures::try_join!(slots::lock(&tx, &keys), async {
        Ok(tx.query(&statement, &[&ids]).await?)
    })?;
    let mut changes = Changes::default();
    for row in &rows {
        changes.of(rows::queue(row)?).published -= 1;
    }
    let slots = changes.apply(&tx).await?;
    tx.commit().await?;
    Ok(slots)
}
