//! A tenant's slots of one kind as the store last saw them, and what follows from them.
//!
//! The store is the only authority. A snapshot carries the version of the row it was read from, so whoever keeps
//! hints of it can tell an older snapshot from a newer one whatever order they arrive in.

use serde::{Deserialize, Serialize};

use crate::{JobKind, TenantId};

/// A tenant's queue of one kind of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueKey {
    pub tenant: TenantId,
    pub kind: JobKind,
}

/// Wake-ups kept in the broker beyond twice the quota, so that a burst of very short jobs does not wait for the relay.
pub const RELAY_WINDOW_SPARE: u32 = 64;

/// How many wake-ups of a queue the broker may hold at once; the rest of a deep backlog needs none yet.
pub const fn relay_window(quota: u32) -> u32 {
    quota.saturating_mul(2).saturating_add(RELAY_WINDOW_SPARE)
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SlotSnapshot {
    pub queue: QueueKey,
    /// Rises with every change of the row.
    pub version: i64,
    pub weight: u32,
    pub quota: u32,
    pub running: u32,
    /// Jobs that wait for a slot, due or not.
    pub queued: u32,
    /// Of those, the ones that any worker may run now: their time has come and they ask for no labels.
    pub due: u32,
    /// Wake-ups that the broker holds for them.
    pub published: u32,
    pub paused: bool,
    /// How long a run takes, in seconds, by the latest ones; what a pick is charged before the truth is known.
    pub service_seconds: f64,
}

impl SlotSnapshot {
    /// Slots that are free by quota.
    pub const fn free(&self) -> u32 {
        self.quota.saturating_sub(self.running)
    }

    /// How many jobs a worker that visits now may hope to claim.
    pub const fn claimable(&self) -> u32 {
        if self.paused {
            return 0;
        }
        let free = self.free();
        if free < self.published {
            free
        } else {
            self.published
        }
    }

    /// How many more wake-ups the broker may be given.
    pub const fn to_relay(&self) -> u32 {
        if self.paused {
            return 0;
        }
        let window = relay_window(self.quota);
        let wanted = if self.due < window { self.due } else { window };
        wanted.saturating_sub(self.published)
    }
}

/// What is assumed of a queue's runs before the first has ended, in seconds.
pub const SERVICE_SECONDS_UNKNOWN: f64 = 1.0;
/// Runs that count half of what the latest one counts are about seven back.
const SERVICE_MEMORY: f64 = 0.9;

/// The expected length of a run after `runs` more that took `seconds` in all.
#[must_use]
pub fn service_seconds(before: f64, runs: u32, seconds: f64) -> f64 {
    if runs == 0 {
        return before;
    }
    let remembered = SERVICE_MEMORY.powi(i32::try_from(runs).unwrap_or(i32::MAX));
    let latest = (seconds / f64::from(runs)).max(0.0);
    before * remembered + latest * (1.0 - remembered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_length_follows_the_latest_runs() {
        let after_one = service_seconds(1.0, 1, 11.0);
        assert!((after_one - 2.0).abs() < 1e-9, "{after_one}");
        let after_many = service_seconds(1.0, 100, 1_100.0);
        assert!((after_many - 11.0).abs() < 0.01, "{after_many}");
        assert!((service_seconds(3.0, 0, 0.0) - 3.0).abs() < 1e-9);
    }
}
