//! The counts of queues: locked before anything of a queue moves, changed together with what they count.
//!
//! Whoever holds a queue's lock is the only one who moves its jobs from one state to another. The lock is a statement
//! of its own: under READ COMMITTED one that locked and read at once would see the rest as it was before it waited.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use application::ports::Wakeups;
use deadpool_postgres::Transaction;
use domain::{JobKind, JobState, QueueKey, SlotSnapshot, TenantId, Timestamp, service_seconds};
use uuid::Uuid;

use crate::error::Failure;
use crate::rows::{self, SLOT};

/// In the order of the key, as everywhere. Each key is looked up by itself: a join could be planned the other way round
/// while the table is small, and read all of it for every claim when it has grown.
pub(crate) const LOCK: &str = "SELECT FROM (
        SELECT * FROM unnest($1::uuid[], $2::text[]) AS u (tenant_id, kind) ORDER BY tenant_id, kind
    ) AS k CROSS JOIN LATERAL (
        SELECT FROM tenant_slots s WHERE s.tenant_id = k.tenant_id AND s.kind = k.kind FOR UPDATE
    ) AS locked";

pub(crate) static READ: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT slot.* FROM unnest($1::uuid[], $2::text[]) AS k (tenant_id, kind) CROSS JOIN LATERAL (
            SELECT {SLOT}, s.pending, s.draining, t.active, t.max_queued, t.budget_until
            FROM tenant_slots s JOIN tenants t ON t.id = s.tenant_id
            WHERE s.tenant_id = k.tenant_id AND s.kind = k.kind
            LIMIT 1
        ) AS slot"
    )
});

/// The first wake-up that is given and the last that is used up touch the queue; those between say nothing about the rest,
/// which may be lost while new ones come and go. The server refuses to multiply numbers that are nearly nothing,
/// so an expected length ends at a microsecond, and what is hardly remembered ([`FORGOTTEN`]) is not at all.
pub(crate) static APPLY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE tenant_slots s SET
            pending = greatest(s.pending + d.pending, 0),
            queued = greatest(s.queued + d.queued, 0),
            due = greatest(s.due + d.due, 0),
            published = greatest(s.published + d.published, 0),
            running = greatest(s.running + d.running, 0),
            service_seconds = greatest(s.service_seconds * d.remembered + d.learnt, 0.000001),
            touched_at = CASE WHEN d.published = 0 OR s.published > 0 AND s.published + d.published > 0
                THEN s.touched_at ELSE $1 END,
            version = s.version + 1
        FROM unnest($2::uuid[], $3::text[], $4::int4[], $5::int4[], $6::int4[], $7::int4[], $8::int4[],
                $9::float8[], $10::float8[])
            AS d (tenant_id, kind, pending, queued, due, published, running, remembered, learnt)
        JOIN tenants t ON t.id = d.tenant_id
        WHERE s.tenant_id = d.tenant_id AND s.kind = d.kind AND s.tenant_id = ANY ($2::uuid[])
        RETURNING {SLOT}"
    )
});

/// A queue as read under its lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub seen: SlotSnapshot,
    pub pending: u32,
    pub draining: bool,
    pub tenant_active: bool,
    /// The tenant's limit on what waits, all kinds together.
    pub max_queued: u32,
    /// Until when its month is used up.
    pub budget_until: Option<Timestamp>,
}

pub(crate) type Slots = BTreeMap<QueueKey, Slot>;

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
                draining: rows::get(row, "draining")?,
                tenant_active: rows::get(row, "active")?,
                max_queued: rows::count(row, "max_queued")?,
                budget_until: rows::get(row, "budget_until")?,
            };
            Ok((slot.seen.queue, slot))
        })
        .collect()
}

/// By how much the counts of one queue move.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Delta {
    pub pending: i32,
    pub queued: i32,
    /// Of the queued ones, those that any worker may run now.
    pub due: i32,
    pub published: i32,
    pub running: i32,
    /// Runs that ended by themselves, and how long they took in all.
    pub runs: u32,
    pub seconds: f64,
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

/// A share of the expected length that shows in no number of seconds.
const FORGOTTEN: f64 = 1e-12;

/// What a transaction changes in the counts, written with one statement at its end.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<QueueKey, Delta>);

impl Changes {
    pub(crate) fn of(&mut self, queue: QueueKey) -> &mut Delta {
        self.0.entry(queue).or_default()
    }

    /// `ready`: it is queued, its time has come and it asks for no labels.
    pub(crate) fn created(&mut self, queue: QueueKey, state: JobState, ready: bool) {
        let delta = self.of(queue);
        delta.count(state, 1);
        delta.due += i32::from(ready);
    }

    /// Each state with whether the job is (was) ready in it.
    pub(crate) fn moved(&mut self, queue: QueueKey, from: (JobState, bool), to: (JobState, bool)) {
        let delta = self.of(queue);
        delta.count(from.0, -1);
        delta.count(to.0, 1);
        delta.due += i32::from(to.1) - i32::from(from.1);
    }

    /// Counts as published what the relay would send next of these queues, and returns it.
    pub(crate) fn publish(&mut self, slots: &Slots) -> Vec<Wakeups> {
        let mut publish = Vec::new();
        for (queue, delta) in &mut self.0 {
            let Some(slot) = slots.get(queue) else {
                continue;
            };
            let after = SlotSnapshot {
                due: slot.seen.due.saturating_add_signed(delta.due),
                published: slot.seen.published.saturating_add_signed(delta.published),
                ..slot.seen
            };
            let n = after.to_relay();
            if n > 0 {
                delta.published += i32::try_from(n).unwrap_or(i32::MAX);
                publish.push(Wakeups { queue: *queue, n });
            }
        }
        publish
    }

    /// Returns what the changed queues are now.
    pub(crate) async fn apply(
        self,
        tx: &Transaction<'_>,
        now: Timestamp,
    ) -> Result<Vec<SlotSnapshot>, Failure> {
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
        let weight = |pick: fn(&Delta) -> f64| -> Vec<f64> {
            changed.iter().map(|(_, delta)| pick(delta)).collect()
        };
        let apply = tx.prepare_cached(&APPLY).await?;
        let rows = tx
            .query(
                &apply,
                &[
                    &now,
                    &keys.tenants,
                    &keys.kinds,
                    &column(|delta| delta.pending),
                    &column(|delta| delta.queued),
                    &column(|delta| delta.due),
                    &column(|delta| delta.published),
                    &column(|delta| delta.running),
                    // The rule is linear in what was before, so its two factors say all of it.
                    &weight(|delta| {
                        let remembered = service_seconds(1.0, delta.runs, 0.0);
                        if remembered < FORGOTTEN {
                            0.0
                        } else {
                            remembered
                        }
                    }),
                    &weight(|delta| service_seconds(0.0, delta.runs, delta.seconds)),
                ],
            )
            .await?;
        rows.iter().map(rows::slot).collect()
    }
}
