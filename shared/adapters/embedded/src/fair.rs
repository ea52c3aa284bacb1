//! Weighted fair queueing over the hints of one kind's queues (start-time fair queueing), charged in worker-seconds.
//!
//! `adapters/redis/src/lua` does the same in Redis; the contract suite holds both to it. The rules:
//!
//! - A pick happens at the lowest virtual time of the ready queues, which is the present from then on. It charges the
//!   queue, in advance, the expected seconds of the picked runs over its weight.
//! - What was charged wrongly is made good when the truth is known: for unclaimed jobs when their visit is over, for runs
//!   when they end. More is charged in full. Less is given back as far as the present at most: a queue that is ahead comes
//!   nearer, and none gets behind it, since whoever is behind goes before everybody else until it has caught up.
//! - A queue that becomes ready behind the present joins at the present, so neither idling nor full slots earn credit.
//! - A queue that goes idle ahead of the present is remembered until the present has caught up. When all are idle
//!   it has: what one had beyond its share, nobody else wanted.
//!
//! So two queues that are always ready are never further apart than one pick's charge and the corrections that one had
//! since its latest pick: at most quota x (truth - estimate) seconds over its weight.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use application::ports::{Found, PICK_MAX, Served, Visited, charge_seconds};
use domain::{SlotSnapshot, TenantId};

/// Worker-seconds over weight. What a queue is ahead of the present one is what it has had beyond its share.
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
    /// What a pick is charged for each job, in seconds.
    estimate: f64,
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

    /// Charges these seconds. Negative ones are given back, as far as the present at most.
    fn charge(&mut self, seconds: f64, present: VirtualTime) {
        if !seconds.is_finite() {
            return;
        }
        let VirtualTime(before) = self.virtual_time;
        let after = before + seconds / f64::from(self.weight);
        self.virtual_time = VirtualTime(after.max(before.min(present.0)));
    }
}

/// A pick: the queue, how many jobs of it, and the seconds charged for each.
pub(crate) type Picked = (TenantId, u32, f64);

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

    /// The same with nothing in hand, also for what is known already. Of a queue that is written to all the time something
    /// newer is always known; who had some of it in hand may be dead all the same.
    pub(crate) fn refresh(&mut self, slots: &SlotSnapshot) -> bool {
        let tenant = slots.queue.tenant;
        match self.hints.get(&tenant).copied() {
            Some(known) if slots.version < known.version => self.place(
                tenant,
                Hint {
                    picked: 0,
                    found_empty: false,
                    ..known
                },
            ),
            _ => self.take_in(slots, 0),
        }
    }

    fn take_in(&mut self, slots: &SlotSnapshot, picked: u32) -> bool {
        let tenant = slots.queue.tenant;
        let known = self.hints.get(&tenant);
        let hint = Hint {
            version: slots.version,
            claimable: slots.claimable(),
            weight: slots.weight.max(1),
            estimate: charge_seconds(slots),
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
    pub(crate) fn visited(&mut self, visited: &Visited) -> bool {
        let tenant = visited.queue.tenant;
        let Some(mut hint) = self.hints.get(&tenant).copied() else {
            return false;
        };
        hint.picked = hint.picked.saturating_sub(visited.n);
        hint.found_empty |= visited.found == Found::Nothing && !hint.arrived;
        let unclaimed = f64::from(visited.n.saturating_sub(visited.claimed));
        hint.charge(-unclaimed * visited.estimate, self.present);
        self.place(tenant, hint)
    }

    pub(crate) fn served(&mut self, served: &Served) {
        let tenant = served.queue.tenant;
        if let Some(mut hint) = self.hints.get(&tenant).copied() {
            hint.charge(served.beyond, self.present);
            self.place(tenant, hint);
        }
    }

    pub(crate) fn pick(&mut self, want: u32) -> Option<Picked> {
        let (start, tenant) = *self.ready.first()?;
        let mut hint = *self.hints.get(&tenant)?;
        let n = want.min(hint.left()).min(PICK_MAX);
        if n == 0 {
            return None;
        }
        self.present = start;
        hint.picked += n;
        hint.arrived = false;
        hint.charge(f64::from(n) * hint.estimate, start);
        self.place(tenant, hint);
        self.forget_idle();
        Some((tenant, n, hint.estimate))
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
                self.settle_if_all_are_idle();
                return false;
            }
            self.idle.insert((hint.virtual_time, tenant));
        }
        let is_ready = hint.left() > 0;
        self.hints.insert(tenant, hint);
        if hint.idle {
            self.settle_if_all_are_idle();
        }
        is_ready && !was_ready
    }

    /// When nobody wants anything, nobody owes anything: the present catches up with all.
    fn settle_if_all_are_idle(&mut self) {
        if self.hints.len() == self.idle.len()
            && let Some((latest, _)) = self.idle.last()
        {
            self.present = self.present.max(*latest);
        }
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
mod tests;
