//! The counts of queues: locked before anything of a queue moves, changed together with what they count.
//!
//! Whoever holds a queue's lock is the only one who moves its jobs from one state to another. The lock is a statement
//! of its own: under READ COMMITTED one that locked and read at once would see the rest as it was before it waited.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use deadpool_postgres::Transaction;
use domain::{JobKind, JobState, QueueKey, SlotSnapshot, TenantId, relay_window};
use uuid::Uuid;

use crate::error::Failure;
use crate::rows::{self, SLOT};

/// In the order of the key, as everywhere.
pub(crate) const LOCK: &str = "SELECT FROM tenant_slots s
    JOIN unnest($1::uuid[], $2::text[]) AS k (tenant_id, kind) USING (tenant_id, kind)
    ORDER BY s.tenant_id, s.kind FOR UPDATE OF s";

pub(crate) static READ: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {SLOT}, s.pending, t.active, t.max_queued
        FROM unnest($1::uuid[], $2::text[]) AS k (tenant_id, kind)
        JOIN tenant_slots s ON s.tenant_id = k.tenant_id AND s.kind = k.kind
        JOIN tenants t ON t.id = k.tenant_id"
    )
});

pub(crate) static APPLY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE tenant_slots s SET
            pending = greatest(s.pending + d.pending, 0),
            queued = greatest(s.queued + d.queued, 0),
            published = greatest(s.published + d.published, 0),
            running = greatest(s.running + d.running, 0),
            version = s.version + 1
        FROM unnest($1::uuid[], $2::text[], $3::int4[], $4::int4[], $5::int4[], $6::int4[])
            AS d (tenant_id, kind, pending, queued, published, running)
        JOIN tenants t ON t.id = d.tenant_id
        WHERE s.tenant_id = d.tenant_id AND s.kind = d.kind
        RETURNING {SLOT}"
    )
});

/// A queue as read under its lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub seen: SlotSnapshot,
    pub pending: u32,
    pub tenant_active: bool,
    /// The tenant's limit on what waits, all kinds together.
    pub max_queued: u32,
}

pub(crate) type Slots = BTreeMap<QueueKey, Slot>;

impl Slot {
    /// How many due jobs may get a message in the same transaction that queues them: none while older ones wait for
    /// theirs, and none beyond the relay's window.
    pub(crate) const fn publishable_at_once(&self) -> u32 {
        if self.seen.paused || self.seen.queued != self.seen.published {
            return 0;
        }
        relay_window(self.seen.quota).saturating_sub(self.seen.published)
    }
}

/// Queue keys as the two columns that `unnest` takes.
pub(crate) struct Keys {
    pub tenants: Vec<Uuid>,
    pub kinds: Vec<&'static str>,
}

impl Keys {
    /// Keys may come twice; they are asked for once.
    pub(crate) fn of(queues: impl IntoIterator<Item = QueueKey>) -> Self {
        let mut queues: Vec<QueueKey> = queues.into_iter().collect();
        queues.sort_unstable();
        queues.dedup();
        Self {
            tenants: queues.iter().map(|queue| queue.tenant.as_uuid()).collect(),
            kinds: queues.iter().map(|queue| queue.kind.as_str()).collect(),
        }
    }

    /// All queues of these tenants.
    pub(crate) fn of_tenants(tenants: impl IntoIterator<Item = TenantId>) -> Self {
        let queues = tenants
            .into_iter()
            .flat_map(|tenant| JobKind::ALL.map(|kind| QueueKey { tenant, kind }));
        Self::of(queues)
    }
}

pub(crate) async fn lock(tx: &Transaction<'_>, keys: &Keys) -> Result<(), Failure> {
    let lock = tx.prepare_cached(LOCK).await?;
    tx.execute(&lock, &[&keys.tenants, &keys.kinds]).await?;
    Ok(())
}

/// Under their lock.
pub(crate) async fn read(tx: &Transaction<'_>, keys: &Keys) -> Result<Slots, Failure> {
    let read = tx.prepare_cached(&READ).await?;
    let rows = tx.query(&read, &[&keys.tenants, &keys.kinds]).await?;
    rows.iter()
        .map(|row| {
            let slot = Slot {
                seen: rows::slot(row)?,
                pending: rows::count(row, "pending")?,
                tenant_active: rows::get(row, "active")?,
                max_queued: rows::count(row, "max_queued")?,
            };
            Ok((slot.seen.queue, slot))
        })
        .collect()
}

/// By how much the counts of one queue move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub pending: i32,
    pub queued: i32,
    pub published: i32,
    pub running: i32,
}

impl Delta {
    fn count(&mut self, state: JobState, by: i32) {
        match state {
            JobState::Pending => self.pending += by,
            JobState::Queued => self.queued += by,
            JobState::Running | JobState::Degraded => self.running += by,
            _ => {}
        }
    }
}

/// What a transaction changes in the counts, written with one statement at its end.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<QueueKey, Delta>);

impl Changes {
    pub(crate) fn of(&mut self, queue: QueueKey) -> &mut Delta {
        self.0.entry(queue).or_default()
    }

    pub(crate) fn created(&mut self, queue: QueueKey, state: JobState) {
        self.of(queue).count(state, 1);
    }

    pub(crate) fn moved(&mut self, queue: QueueKey, from: JobState, to: JobState) {
        let delta = self.of(queue);
        delta.count(from, -1);
        delta.count(to, 1);
    }

    /// Returns what the changed queues are now.
    pub(crate) async fn apply(self, tx: &Transaction<'_>) -> Result<Vec<SlotSnapshot>, Failure> {
        let changed: Vec<(QueueKey, Delta)> = self
            .0
            .into_iter()
            .filter(|(_, delta)| *delta != Delta::default())
            .collect();
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let keys = Keys::of(changed.iter().map(|(queue, _)| *queue));
        let column = |pick: fn(&Delta) -> i32| -> Vec<i32> {
            changed.iter().map(|(_, delta)| pick(delta)).collect()
        };
        let apply = tx.prepare_cached(&APPLY).await?;
        let rows = tx
            .query(
                &apply,
                &[
                    &keys.tenants,
                    &keys.kinds,
                    &column(|delta| delta.pending),
                    &column(|delta| delta.queued),
                    &column(|delta| delta.published),
                    &column(|delta| delta.running),
                ],
            )
            .await?;
        rows.iter().map(rows::slot).collect()
    }
}
