//! Which queue is next: weighted fair queueing over hints that may be wrong, charged in worker-seconds.
//!
//! The set keeps, per queue, the newest [`SlotSnapshot`] it was told and a virtual time: the worker-seconds it has had
//! over its weight. A queue is ready while its snapshot, less what was picked since, is claimable. Every mistake here
//! costs a visit or a turn, never a quota.

use async_trait::async_trait;
use domain::{JobKind, QueueKey, SlotSnapshot};
use tokio::sync::watch;

/// The most jobs one pick stands for. The picked messages are held by one worker until its claim commits, and the
/// next tenant waits behind that visit: large enough to pay for the round trips, small enough not to be felt.
pub const PICK_MAX: u32 = 64;

/// The least that a pick is charged for a job, in seconds. Taking a job costs something however soon it ends, and a
/// queue of jobs that take no time at all would otherwise be the next for ever.
pub const CHARGE_MIN_SECONDS: f64 = 0.001;

/// What a pick is charged for a job of this queue, in seconds.
pub fn charge_seconds(slots: &SlotSnapshot) -> f64 {
    let finite = slots.service_seconds.is_finite();
    if finite && slots.service_seconds > CHARGE_MIN_SECONDS {
        slots.service_seconds
    } else {
        CHARGE_MIN_SECONDS
    }
}

#[async_trait]
pub trait ReadySet: Send + Sync {
    /// Takes snapshots in; one that is not newer than what is known is ignored. What is in hand of pickers stays so:
    /// their claims are not in the snapshot yet. Queues that become ready wake the pickers.
    async fn note(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError>;

    /// What the reconciler says from time to time: like `note`, also for a snapshot that is known already, and with
    /// nothing in hand and no queue held off, even where something newer is known and stays so. What a picker that died
    /// had in hand is offered again by it, at the price of an empty or refused visit for one that lives.
    async fn refresh(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError>;

    /// Messages have arrived in these queues: an empty visit of before no longer counts.
    async fn arrived(&self, queues: &[QueueKey]) -> Result<(), CoordinationError>;

    /// PICK. The ready queue with the lowest virtual time, with how many jobs to take from it (1 to `want`, at most
    /// [`PICK_MAX`]). Of the kinds that have one, the one whose turn it is: virtual times compare within a kind only.
    /// The queue's virtual time is advanced by the expected seconds of that many runs over its weight, and its claimable
    /// hint lowered by the number. A queue that was not ready rejoins at the present virtual time if it is behind it, so
    /// neither idling nor full slots earn credit. One that went idle ahead of the present is remembered until the present
    /// has caught up, or all queues are idle.
    async fn pick(&self, kinds: &[JobKind], want: u32) -> Result<Pick, CoordinationError>;

    /// The visit that a pick led to is over, and its claim (if any) is noted: its jobs are no longer in hand, and what
    /// was not claimed is not charged (as for `served`, the present is as far back as that takes a queue). One that found nothing holds the queue off until `arrived` or a newer snapshot,
    /// unless messages have arrived since the pick.
    async fn visited(&self, visited: Visited) -> Result<(), CoordinationError>;

    /// Runs have ended: corrects what their queues were charged at the pick to what they took. Too little is made up for
    /// in full. Too much is given back as far as the present virtual time at most: a correction is no credit to go before
    /// others with, and a newcomer is never kept waiting by one.
    ///
    /// To be said before the snapshots that the ends left are noted: a queue that is known to be idle, and not to be ahead,
    /// is forgotten, and one that is not known (any more) is left alone. A correction that comes too late, or not at all,
    /// costs others that one run's excess; the next estimate knows of it.
    async fn served(&self, served: &[Served]) -> Result<(), CoordinationError>;

    /// Forgets all and takes these in; the marker that says "complete" is set last.
    async fn rebuild(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError>;

    /// Changes whenever something may have become ready. Mark it seen, pick, and wait for a change on `Nothing`: no
    /// wake-up is lost in between.
    fn wakeups(&self) -> watch::Receiver<u64>;

    async fn check(&self) -> Result<(), CoordinationError>;
}

/// What came of a pick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Visited {
    pub queue: QueueKey,
    /// As picked.
    pub n: u32,
    /// Jobs that were claimed; at most `n`.
    pub claimed: u32,
    /// As picked.
    pub estimate: f64,
    pub found: Found,
}

/// What a visit found in the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Something,
    Nothing,
}

/// How far off the charges of runs that ended were, added up for a queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Served {
    pub queue: QueueKey,
    /// Seconds that the runs took beyond what was charged for them at their picks; negative when they took less.
    pub beyond: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pick {
    Queue {
        queue: QueueKey,
        n: u32,
        /// Seconds charged for each of them, whatever the queue's weight.
        estimate: f64,
    },
    Nothing,
    /// The hints are gone (the marker is missing): rebuild them, and ask the store meanwhile.
    Blank,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("coordination is not available: {0}")]
pub struct CoordinationError(pub String);
