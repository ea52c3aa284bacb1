//! Weighted fair queueing over the hints of one kind's queues (start-time fair queueing).
//!
//! `adapters/redis/src/lua` does the same in Redis; the contract suite holds both to it.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use application::ports::{Found, PICK_MAX};
use domain::{SlotSnapshot, TenantId};

/// Jobs taken over weight. What a queue is ahead of the present one is what it has had beyond its share.
#[derive(Debug, Clone, Copy, PartialEq)]
struct VirtualTime(f64);

impl Eq for VirtualTime {}

impl PartialOrd for VirtualTime {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for VirtualTime {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// What is known of a queue.
#[derive(Debug, Clone, Copy)]
struct Hint {
    version: i64,
    claimable: u32,
    weight: u32,
    /// In the hands of pickers.
    picked: u32,
    /// A visit found nothing, though there should have been something.
    found_empty: bool,
    /// Messages have arrived since the latest pick.
    arrived: bool,
    /// Nothing waits and nothing runs.
    idle: bool,
    virtual_time: VirtualTime,
}

impl Hint {
    const fn left(&self) -> u32 {
        if self.found_empty {
            0
        } else {
            self.claimable.saturating_sub(self.picked)
        }
    }
}

#[derive(Debug)]
pub(crate) struct FairSet {
    hints: HashMap<TenantId, Hint>,
    ready: BTreeSet<(VirtualTime, TenantId)>,
    /// Idle queues that are still ahead of the present: forgotten once it has caught up with them, since from then on
    /// there is nothing to remember.
    idle: BTreeSet<(VirtualTime, TenantId)>,
    /// The virtual time of the latest pick.
    present: VirtualTime,
}

impl Default for FairSet {
    fn default() -> Self {
        Self {
            hints: HashMap::new(),
            ready: BTreeSet::new(),
            idle: BTreeSet::new(),
            present: VirtualTime(0.0),
        }
    }
}

impl FairSet {
    /// True when the queue became ready by it.
    pub(crate) fn note(&mut self, slots: &SlotSnapshot) -> bool {
        let known = self.hints.get(&slots.queue.tenant).copied();
        if known.is_some_and(|hint| slots.version <= hint.version) {
            return false;
        }
        self.take_in(slots, known.map_or(0, |hint| hint.picked))
    }

    /// The same with nothing in hand, also for what is known already.
    pub(crate) fn refresh(&mut self, slots: &SlotSnapshot) -> bool {
        let known = self.hints.get(&slots.queue.tenant);
        if known.is_some_and(|hint| slots.version < hint.version) {
            return false;
        }
        self.take_in(slots, 0)
    }

    fn take_in(&mut self, slots: &SlotSnapshot, picked: u32) -> bool {
        let tenant = slots.queue.tenant;
        let known = self.hints.get(&tenant);
        let hint = Hint {
            version: slots.version,
            claimable: slots.claimable(),
            weight: slots.weight.max(1),
            picked,
            found_empty: false,
            arrived: known.is_some_and(|hint| hint.arrived),
            idle: slots.queued == 0 && slots.running == 0,
            virtual_time: known.map_or(VirtualTime(0.0), |hint| hint.virtual_time),
        };
        self.place(tenant, hint)
    }

    /// True when the queue became ready by it.
    pub(crate) fn arrived(&mut self, tenant: TenantId) -> bool {
        let Some(hint) = self.hints.get(&tenant).copied() else {
            return false;
        };
        self.place(
            tenant,
            Hint {
                found_empty: false,
                arrived: true,
                ..hint
            },
        )
    }

    /// True when the queue became ready by it.
    pub(crate) fn visited(&mut self, tenant: TenantId, n: u32, found: Found) -> bool {
        let Some(hint) = self.hints.get(&tenant).copied() else {
            return false;
        };
        let found_empty = found == Found::Nothing && !hint.arrived;
        self.place(
            tenant,
            Hint {
                picked: hint.picked.saturating_sub(n),
                found_empty: hint.found_empty || found_empty,
                ..hint
            },
        )
    }

    pub(crate) fn pick(&mut self, want: u32) -> Option<(TenantId, u32)> {
        let (start, tenant) = *self.ready.first()?;
        let hint = *self.hints.get(&tenant)?;
        let n = want.min(hint.left()).min(PICK_MAX);
        if n == 0 {
            return None;
        }
        self.present = start;
        let advanced = start.0 + f64::from(n) / f64::from(hint.weight);
        self.place(
            tenant,
            Hint {
                picked: hint.picked + n,
                arrived: false,
                virtual_time: VirtualTime(advanced),
                ..hint
            },
        );
        self.forget_idle();
        Some((tenant, n))
    }

    /// Puts the queue where it belongs now. True when it became ready.
    fn place(&mut self, tenant: TenantId, mut hint: Hint) -> bool {
        let mut was_ready = false;
        if let Some(old) = self.hints.get(&tenant) {
            was_ready = self.ready.remove(&(old.virtual_time, tenant));
            self.idle.remove(&(old.virtual_time, tenant));
        }
        if hint.left() > 0 {
            if !was_ready {
                hint.virtual_time = hint.virtual_time.max(self.present);
            }
            self.ready.insert((hint.virtual_time, tenant));
        } else if hint.idle {
            if hint.virtual_time <= self.present {
                self.hints.remove(&tenant);
                return false;
            }
            self.idle.insert((hint.virtual_time, tenant));
        }
        let is_ready = hint.left() > 0;
        self.hints.insert(tenant, hint);
        is_ready && !was_ready
    }

    fn forget_idle(&mut self) {
        while let Some((virtual_time, tenant)) = self.idle.first().copied() {
            if virtual_time > self.present {
                break;
            }
            self.idle.remove(&(virtual_time, tenant));
            self.hints.remove(&tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{JobKind, QueueKey};
    use uuid::Uuid;

    use super::*;

    fn snapshot(tenant: u128, version: i64, queued: u32) -> SlotSnapshot {
        SlotSnapshot {
            queue: QueueKey {
                tenant: TenantId::from_uuid(Uuid::from_u128(tenant)),
                kind: JobKind::Session,
            },
            version,
            weight: 1,
            quota: 100,
            running: 0,
            queued,
            published: queued,
            paused: false,
        }
    }

    #[test]
    fn idle_queues_take_no_memory_once_the_present_has_caught_up() {
        let mut set = FairSet::default();
        for tenant in 1..=1_000 {
            set.note(&snapshot(tenant, 1, 1));
            let (picked, n) = set.pick(1).unwrap();
            set.note(&snapshot(tenant, 2, 0));
            set.visited(picked, n, Found::Something);
        }
        // The first pick of tenant 1,001 starts at 0, its second at 1, where the others have ended.
        set.note(&snapshot(1_001, 1, 10));
        set.pick(1);
        set.pick(1);
        assert_eq!(set.hints.len(), 1);
        assert!(set.idle.is_empty());
    }

    #[test]
    fn an_idle_queue_that_is_ahead_is_remembered() {
        let mut set = FairSet::default();
        set.note(&snapshot(1, 1, 50));
        set.note(&snapshot(2, 1, 50));
        let (picked, n) = set.pick(40).unwrap();
        assert_eq!(n, 40);
        set.visited(picked, n, Found::Something);
        set.note(&snapshot(1, 2, 0));
        set.note(&snapshot(1, 3, 50));
        // Tenant 1 has had 40 more than its share: the next 40 are tenant 2's.
        for _ in 0..40 {
            assert_eq!(set.pick(1).unwrap().0.as_uuid().as_u128(), 2);
        }
        assert_eq!(set.pick(1).unwrap().0.as_uuid().as_u128(), 1);
    }
}
