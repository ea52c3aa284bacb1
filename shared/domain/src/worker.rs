//! A worker process as the store knows it.

use serde::{Deserialize, Serialize};

use crate::{JobKind, Labels, Timestamp, WorkerId};

/// What every write of a worker is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkerRef {
    pub id: WorkerId,
    /// Raised by the reaper when it gives the worker up; a worker with an older epoch has lost everything it ran.
    pub epoch: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    pub id: WorkerId,
    pub epoch: i64,
    pub host: String,
    pub kinds: Vec<JobKind>,
    /// What it has, for jobs that ask for it.
    pub labels: Labels,
    /// Jobs it holds at most.
    pub capacity: u32,
    /// Jobs it holds now, by the store's count.
    pub running: u32,
    pub draining: bool,
    pub started_at: Timestamp,
    pub lease_until: Timestamp,
}
