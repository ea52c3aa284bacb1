//! RELAY: wake-ups counted as published for queues that have more due jobs than wake-ups, as far as their window goes.
//!
//! No job is touched. How many is decided under the lock of the queue's slots, so two relays at once never pass a window.

use std::collections::BTreeMap;

use application::ports::{Relayed, Wakeups};
use deadpool_postgres::Transaction;
use domain::{QueueKey, SlotSnapshot, Timestamp};
use tokio_postgres::Row;

use crate::PostgresStore;
use crate::error::Failure;
use crate::pipeline::prepare;
use crate::rows::{self, int};
use crate::slots::{self, Changes, Keys, Slots};

/// Queues locked by one relay; the rest waits for the next.
const QUEUES_AT_ONCE: u32 = 256;

/// The emptiest first, so that a queue with nothing in the broker never waits behind one that is topped up.
const CANDIDATES: &str =
    "SELECT s.tenant_id, s.kind FROM tenant_slots s JOIN tenants t ON t.id = s.tenant_id
    WHERE s.behind AND s.published < 2::int8 * s.quota + $2 AND NOT s.paused AND t.active
        AND (s.kind <> 'session' OR t.budget_until IS NULL)
    ORDER BY s.published, random() LIMIT $1";

pub(crate) async fn relay(
    store: &PostgresStore,
    limit: u32,
    now: Timestamp,
) -> Result<Relayed, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let keys = candidates(&tx, limit).await?;
    if keys.kinds.is_empty() {
        return Ok(Relayed::default());
    }
    prepare(&tx, &[slots::LOCK, &slots::READ]).await?;
    let ((), slots) = futures::try_join!(slots::lock(&tx, &keys), slots::read(&tx, &keys))?;
    let mut changes = Changes::default();
    let mut publish = Vec::new();
    let mut left = limit;
    for (queue, n) in share(&slots, limit) {
        left -= n;
        changes.of(queue).published += int(n);
        publish.push(Wakeups { queue, n });
    }
    let slots = changes.apply(&tx, now).await?;
    tx.commit().await?;
    let more = left == 0 || keys.kinds.len() == QUEUES_AT_ONCE as usize;
    Ok(Relayed {
        publish,
        slots,
        more,
    })
}

async fn candidates(tx: &Transaction<'_>, limit: u32) -> Result<Keys, Failure> {
    let find = tx.prepare_cached(CANDIDATES).await?;
    let at_once = i64::from(limit.min(QUEUES_AT_ONCE));
    let spare = i64::from(domain::RELAY_WINDOW_SPARE);
    let rows: Vec<Row> = tx.query(&find, &[&at_once, &spare]).await?;
    let queues: Vec<QueueKey> = rows.iter().map(rows::queue).collect::<Result<_, _>>()?;
    Ok(Keys::of(queues))
}

/// How many wake-ups each queue may be given: an equal share of `limit`, and what others leave of theirs.
fn share(slots: &Slots, limit: u32) -> BTreeMap<QueueKey, u32> {
    let mut rooms: Vec<(u32, QueueKey)> = slots
        .values()
        .map(|slot| (slot.seen.to_relay(), slot.seen.queue))
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
        if share > 0 {
            shares.insert(queue, share);
        }
    }
    shares
}

const UNPUBLISH: &str = "UPDATE tenant_slots s
    SET published = greatest(s.published - k.n, 0), version = s.version + 1
    FROM unnest($1::uuid[], $2::text[], $3::int4[]) AS k (tenant_id, kind, n)
    WHERE s.tenant_id = k.tenant_id AND s.kind = k.kind";

/// `EngineStore::unpublish`: these could not be sent.
pub(crate) async fn unpublish(
    store: &PostgresStore,
    wakeups: Vec<Wakeups>,
) -> Result<Vec<SlotSnapshot>, Failure> {
    let mut counts: BTreeMap<QueueKey, u32> = BTreeMap::new();
    for wakeups in wakeups {
        let count = counts.entry(wakeups.queue).or_default();
        *count = count.saturating_add(wakeups.n);
    }
    let keys = Keys::of(counts.keys().copied());
    let counts: Vec<i32> = counts.into_values().map(int).collect();
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[slots::LOCK, UNPUBLISH, &slots::READ]).await?;
    let unpublish = tx.prepare_cached(UNPUBLISH).await?;
    let ((), _, slots) = futures::try_join!(
        slots::lock(&tx, &keys),
        async {
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                [&keys.tenants, &keys.kinds, &counts];
            Ok(tx.execute(&unpublish, &params).await?)
        },
        slots::read(&tx, &keys)
    )?;
    tx.commit().await?;
    Ok(slots.into_values().map(|slot| slot.seen).collect())
}
