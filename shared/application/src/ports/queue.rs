//! The broker: a wake-up says that a job of its queue waits; which one, the store says at the claim. Losing or doubling
//! one costs time, never correctness.

use async_trait::async_trait;
use domain::QueueKey;

#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Sends to the queues named, made where missing, and waits until the broker has them safe. Returns what it has
    /// not taken; an error means that it has none for sure.
    async fn publish(&self, wakeups: Vec<Wakeups>) -> Result<Vec<Wakeups>, QueueError>;

    /// Makes a queue ahead of its first wake-up, which need not wait for that then. Waits a second at most; nothing is
    /// lost where it fails, since publishing makes what is missing.
    async fn make(&self, queue: QueueKey) -> Result<(), QueueError>;

    /// Whether the queue was there when this process last made it or published to it, so that nothing has to be made before the next
    /// message arrives.
    fn knows(&self, queue: QueueKey) -> bool;

    /// VISIT. Takes up to `n` wake-ups, without waiting for more to come. What is beside them in the same message is in
    /// nobody's reach until the ack sends it back.
    async fn visit(&self, queue: QueueKey, n: u32) -> Result<Visit, QueueError>;

    /// All wake-ups of the visit are dealt with; those beyond them are back in their queue afterwards. Losing the ack brings duplicates, which are harmless.
    async fn ack(&self, receipt: Receipt) -> Result<(), QueueError>;

    /// All wake-ups of the visit go back to their queue.
    async fn give_back(&self, receipt: Receipt) -> Result<(), QueueError>;

    /// How many messages of the queue the broker holds, in nobody's hands: so many wake-ups at least, and none only when
    /// there is none. None for a queue that it does not know.
    async fn depth(&self, queue: QueueKey) -> Result<u32, QueueError>;

    /// How many wake-ups a message may stand for: no more than so many times the depth wait in a queue.
    fn wakeups_a_message(&self) -> u32;

    /// True when the durable marker is there: the broker still has what it was given.
    async fn has_marker(&self) -> Result<bool, QueueError>;

    async fn set_marker(&self) -> Result<(), QueueError>;

    /// Says in words why the broker cannot be used, for health checks.
    async fn check(&self) -> Result<(), QueueError>;
}

/// So many wake-ups of one queue; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wakeups {
    pub queue: QueueKey,
    pub n: u32,
}

/// What was taken at one visit.
#[derive(Debug)]
pub struct Visit {
    pub taken: u32,
    /// The ack, or giving it back, will let wake-ups arrive that other visits did not find meanwhile.
    pub beyond: bool,
    pub receipt: Receipt,
}

/// Stands for the wake-ups of one visit; means something to the adapter that made it only.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt(pub u64);

#[derive(Debug, Clone, thiserror::Error)]
#[error("the queue is not available: {0}")]
pub struct QueueError(pub String);
