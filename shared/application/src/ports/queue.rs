//! The broker: a wake-up says that a job of its queue waits; which one, the store says at the claim. Losing or doubling
//! one costs time, never correctness.

use async_trait::async_trait;
use domain::QueueKey;

#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Sends to the queues named, made where missing, and waits until the broker has them safe. Returns what it has
    /// not taken; an error means that it has none for sure.
    async fn publish(&self, wakeups: Vec<Wakeups>) -> Result<Vec<Wakeups>, QueueError>;

    /// VISIT. Takes up to `n` wake-ups, without waiting for more to come.
    async fn visit(&self, queue: QueueKey, n: u32) -> Result<Visit, QueueError>;

    /// All wake-ups of the visit are dealt with. Losing the ack brings duplicates, which are harmless.
    async fn ack(&self, receipt: Receipt) -> Result<(), QueueError>;

    /// All wake-ups of the visit go back to their queue.
    async fn give_back(&self, receipt: Receipt) -> Result<(), QueueError>;

    /// How many wake-ups of the queue the broker holds, in nobody's hands; none for a queue that it does not know.
    async fn depth(&self, queue: QueueKey) -> Result<u32, QueueError>;

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
    pub receipt: Receipt,
}

/// Stands for the wake-ups of one visit; means something to the adapter that made it only.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt(pub u64);

#[derive(Debug, Clone, thiserror::Error)]
#[error("the queue is not available: {0}")]
pub struct QueueError(pub String);
