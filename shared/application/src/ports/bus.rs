//! Hints that something changed, for those who watch. The store has what changed; a lost signal only delays.

use async_trait::async_trait;
use domain::{JobId, TenantId, WorkerId};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

#[async_trait]
pub trait EventBus: Send + Sync {
    async fn publish(&self, signals: Vec<Signal>) -> Result<(), BusError>;

    /// From the moment this returns; ends when the bus is shut down.
    async fn subscribe(&self, interest: Interest) -> Result<SignalStream, BusError>;
}

pub type SignalStream = BoxStream<'static, Signal>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
pub enum Signal {
    /// Events of a job were written.
    JobChanged { tenant: TenantId, job: JobId },
    /// Log chunks of a job were written.
    LogWritten { tenant: TenantId, job: JobId },
    /// A job that this worker runs was asked to stop.
    StopRequested { worker: WorkerId, job: JobId },
    /// A job that this worker runs was asked to pause.
    PauseRequested { worker: WorkerId, job: JobId },
    /// The subscriber was too slow or was cut off: anything may have changed.
    Missed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interest {
    /// `JobChanged` and `LogWritten` of a tenant.
    Tenant(TenantId),
    /// `StopRequested` and `PauseRequested` for a worker.
    Worker(WorkerId),
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("the event bus is not available: {0}")]
pub struct BusError(pub String);
