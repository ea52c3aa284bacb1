use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{JobKind, WorkerView};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A worker process.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Worker)]
pub(crate) struct WorkerBody {
    pub id: Uuid,
    pub host: String,
    /// The kinds of jobs that it takes.
    pub kinds: Vec<&'static str>,
    /// What it has, for jobs that ask for it.
    pub labels: BTreeMap<String, String>,
    /// Jobs it holds at most.
    pub capacity: u32,
    /// Jobs it holds now.
    pub running: u32,
    /// True when it takes no more jobs.
    pub draining: bool,
    /// False when its lease is over: its jobs are taken back soon.
    pub alive: bool,
    pub started_at: DateTime<Utc>,
    pub lease_until: DateTime<Utc>,
}

/// All workers that the store knows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerList {
    pub items: Vec<WorkerBody>,
}

impl WorkerBody {
    pub fn new(worker: WorkerView, now: DateTime<Utc>) -> Self {
        Self {
            id: worker.id.as_uuid(),
            host: worker.host,
            kinds: worker.kinds.into_iter().map(JobKind::as_str).collect(),
            labels: worker.labels.0,
            capacity: worker.capacity,
            running: worker.running,
            draining: worker.draining,
            alive: now < worker.lease_until,
            started_at: worker.started_at,
            lease_until: worker.lease_until,
        }
    }
}
