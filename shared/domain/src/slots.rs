//! A tenant's slots of one kind as the store last saw them.
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

/// Messages kept in the broker beyond twice the quota, so that a burst of very short jobs does not wait for the relay.
pub const RELAY_WINDOW_SPARE: u32 = 64;

/// How many of a queue's jobs may have live messages at once; the rest of a deep backlog waits in the store, where it
/// can be reordered.
pub const fn relay_window(quota: u32) -> u32 {
    quota.saturating_mul(2).saturating_add(RELAY_WINDOW_SPARE)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSnapshot {
    pub queue: QueueKey,
    /// Rises with every change of the row.
    pub version: i64,
    pub weight: u32,
    pub quota: u32,
    pub running: u32,
    /// Jobs that wait, published or not, due or not.
    pub queued: u32,
    /// Of those, the ones with a live message in the broker.
    pub published: u32,
    pub paused: bool,
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
}
