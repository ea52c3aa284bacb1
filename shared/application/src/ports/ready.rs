//! Which queue is next: weighted fair queueing over hints that may be wrong.
//!
//! The set keeps, per queue, the newest [`SlotSnapshot`] it was told and a virtual time. A queue is ready while its
//! snapshot, less what was picked since, is claimable. Every mistake here costs a visit, never a quota.

use async_trait::async_trait;
use domain::{JobKind, QueueKey, SlotSnapshot};
use tokio::sync::watch;

/// The most jobs one pick stands for. The picked messages are held by one worker until its claim commits, and the
/// next tenant waits behind that visit: large enough to pay for the round trips, small enough not to be felt.
pub const PICK_MAX: u32 = 64;

#[async_trait]
pub trait ReadySet: Send + Sync {
    /// Takes snapshots in; one that is not newer than what is known is ignored. What is in hand of pickers stays so:
    /// their claims are not in the snapshot yet. Queues that become ready wake the pickers.
    async fn note(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError>;

    /// What the reconciler says from time to time: like `note`, also for a snapshot that is known already, and with
    /// nothing in hand and no queue held off. So what a picker that died had in hand is offered again, at the price of
    /// an empty or refused visit for one that lives.
    async fn refresh(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError>;

    /// Messages have arrived in these queues: an empty visit of before no longer counts.
    async fn arrived(&self, queues: &[QueueKey]) -> Result<(), CoordinationError>;

    /// PICK. The ready queue with the lowest virtual time, with how many jobs to take from it (1 to `want`, at most
    /// [`PICK_MAX`]). Of the kinds that have one, the one whose turn it is: virtual times compare within a kind only.
    /// The queue's virtual time is advanced by that number over its weight, and its claimable hint lowered by it. A
    /// queue that was idle rejoins at the present virtual time, so idling earns no credit.
    async fn pick(&self, kinds: &[JobKind], want: u32) -> Result<Pick, CoordinationError>;

    /// The visit that a pick of `n` led to is over, and its claim (if any) is noted: they are no longer in hand. One
    /// that found nothing holds the queue off until `arrived` or a newer snapshot, unless messages have arrived since
    /// the pick.
    async fn visited(&self, queue: QueueKey, n: u32, found: Found)
    -> Result<(), CoordinationError>;

    /// Forgets all and takes these in; the marker that says "complete" is set last.
    async fn rebuild(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError>;

    /// Changes whenever something may have become ready. Mark it seen, pick, and wait for a change on `Nothing`: no
    /// wake-up is lost in between.
    fn wakeups(&self) -> watch::Receiver<u64>;

    async fn check(&self) -> Result<(), CoordinationError>;
}

/// What a visit found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Something,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    Queue {
        queue: QueueKey,
        n: u32,
    },
    Nothing,
    /// The hints are gone (the marker is missing): rebuild them, and ask the store meanwhile.
    Blank,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("coordination is not available: {0}")]
pub struct CoordinationError(pub String);
