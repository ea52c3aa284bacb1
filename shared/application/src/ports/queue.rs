//! The broker: wake-ups that carry a job id. Losing or doubling one costs time, never correctness.

use async_trait::async_trait;
use domain::{JobId, Priority, QueueKey};

#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Sends to the queues of the messages, made where missing, and waits until the broker has them safe. Returns
    /// those that it has not; an error means that it has none for sure.
    async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Message>, QueueError>;

    /// VISIT. Takes up to `n` messages, without waiting for more to come. Empty: nothing there now.
    async fn visit(&self, queue: QueueKey, n: u32) -> Result<Visit, QueueError>;

    /// All messages of the visit are dealt with. Losing the ack brings duplicates, which are harmless.
    async fn ack(&self, receipt: Receipt) -> Result<(), QueueError>;

    /// All messages of the visit go back to their queue.
    async fn give_back(&self, receipt: Receipt) -> Result<(), QueueError>;

    /// True when the durable marker is there: the broker still has what it was given.
    async fn has_marker(&self) -> Result<bool, QueueError>;

    async fn set_marker(&self) -> Result<(), QueueError>;

    /// Says in words why the broker cannot be used, for health checks.
    async fn check(&self) -> Result<(), QueueError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Message {
    pub queue: QueueKey,
    pub job: JobId,
    pub priority: Priority,
}

/// What was taken at one visit.
#[derive(Debug)]
pub struct Visit {
    pub jobs: Vec<JobId>,
    pub receipt: Receipt,
}

/// Stands for the messages of one visit; means something to the adapter that made it only.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt(pub u64);

#[derive(Debug, Clone, thiserror::Error)]
#[error("the queue is not available: {0}")]
pub struct QueueError(pub String);
