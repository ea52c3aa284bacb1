//! What the engine does with everybody's jobs: the transactions of dispatch.
//!
//! Locks are always taken in the same order, so that no two of these can wait for each other: the worker's row, then
//! `tenant_slots` rows by (tenant, kind), then jobs by id.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    Artifact, Job, JobId, JobKind, LogChunk, Progress, QueueKey, Settlement, SlotSnapshot,
    TenantId, Timestamp, WorkerRef, WorkerView,
};

use super::{Message, StoreError};

#[async_trait]
pub trait EngineStore: Send + Sync {
    /// A worker comes to life with a lease until `lease_until`; its epoch starts at 1.
    async fn register_worker(
        &self,
        worker: NewWorker,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<WorkerRef, StoreError>;

    /// Prolongs the lease, if it is still this epoch's and has not run out, and says which running jobs were asked
    /// to stop.
    async fn renew_lease(
        &self,
        worker: WorkerRef,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Renewal, LeaseError>;

    /// The worker takes no more jobs; seen by people.
    async fn drain_worker(&self, worker: WorkerRef) -> Result<(), StoreError>;

    /// The worker leaves. The caller has finished or handed back all its jobs; any left are taken back by the reaper,
    /// so the row stays (with its lease ended) while there are any.
    async fn release_worker(&self, worker: WorkerRef, now: Timestamp) -> Result<(), StoreError>;

    /// RELAY. Marks the next jobs of queues whose live messages are below their window as published, by (priority,
    /// id), due ones only, of active tenants, and returns them to be sent. At most `limit` jobs in all. Two relays at
    /// once never return the same job.
    async fn relay(&self, limit: u32, now: Timestamp) -> Result<Relayed, StoreError>;

    /// Takes back the mark of jobs that could not be sent and are still queued.
    async fn unpublish(&self, messages: Vec<Message>) -> Result<Vec<SlotSnapshot>, StoreError>;

    /// CLAIM. One transaction for many tenants: the worker's lease is checked, slots are counted under lock, and of
    /// each queue at most the free slots' number of jobs goes to running with attempt, fence and epoch set and a
    /// `started` event and an open attempt written. Jobs asked for beyond that are queued and unpublished again.
    async fn claim(
        &self,
        worker: WorkerRef,
        requests: Vec<ClaimRequest>,
        now: Timestamp,
    ) -> Result<Claimed, LeaseError>;

    /// WRITE. Progress, checkpoints, logs and artifacts of running jobs, batched. Returns the jobs that are no longer
    /// this worker's, of which nothing was written.
    async fn report(
        &self,
        worker: WorkerRef,
        reports: Vec<Report>,
        now: Timestamp,
    ) -> Result<Vec<JobId>, StoreError>;

    /// FINISH. Settles runs: job, attempt and event written, slots given back. A job that is no longer at its fence
    /// is left alone and named in `fenced`. A stop that was asked for meanwhile wins over being queued again
    /// ([`Settlement::unless_stopped`]).
    async fn finish(
        &self,
        worker: WorkerRef,
        finishes: Vec<Finish>,
        now: Timestamp,
    ) -> Result<Finished, StoreError>;

    /// REAP. Takes workers whose lease ended before `now - grace`: epoch raised, up to `limit` of their jobs settled
    /// as `LeaseLost` with the fence raised, slots given back; a worker without jobs left is deleted. Safe to run
    /// twice at once.
    async fn reap(&self, grace: Duration, limit: u32, now: Timestamp)
    -> Result<Reaped, StoreError>;

    /// RECONCILE. Recounts every queue's running, queued and published and repairs drift; takes back the mark of
    /// jobs published longer than `stale` ago and still queued while their queue has free slots.
    async fn reconcile(&self, stale: Duration, now: Timestamp) -> Result<Reconciled, StoreError>;

    /// The broker lost its data: no queued job has a live message any more.
    async fn forget_published(&self) -> Result<Vec<SlotSnapshot>, StoreError>;

    /// Every queue with something waiting or running: what coordination is rebuilt from. At most `limit`.
    async fn slots(&self, limit: u32) -> Result<Vec<SlotSnapshot>, StoreError>;

    async fn workers(&self) -> Result<Vec<WorkerView>, StoreError>;
}

#[derive(Debug, Clone)]
pub struct NewWorker {
    pub id: domain::WorkerId,
    pub host: String,
    pub kinds: Vec<JobKind>,
    pub capacity: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The lease ran out or the reaper took it: nothing this worker runs is its own any more.
    #[error("the lease of worker {} (epoch {}) is lost", .0.id, .0.epoch)]
    Lost(WorkerRef),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Running jobs of this worker that were asked to stop.
    pub stop_requested: Vec<JobId>,
    /// All that run for this worker, as the store knows it.
    pub held: Vec<(TenantId, JobId)>,
}

#[derive(Debug, Default)]
pub struct Relayed {
    pub publish: Vec<Message>,
    pub slots: Vec<SlotSnapshot>,
}

/// A message that a worker holds and wants to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimRequest {
    pub queue: QueueKey,
    pub job: JobId,
}

#[derive(Debug, Default)]
pub struct Claimed {
    /// Running, with their new fence and attempt.
    pub jobs: Vec<Job>,
    /// Still queued, unpublished again, because the quota or a pause forbade them or they are not due.
    pub refused: Vec<JobId>,
    /// Not queued any more: a duplicate or late message.
    pub gone: Vec<JobId>,
    pub slots: Vec<SlotSnapshot>,
}

/// What a run says between its start and its end.
#[derive(Debug, Clone)]
pub struct Report {
    pub tenant: TenantId,
    pub job: JobId,
    pub fence: i64,
    pub attempt: u32,
    /// The latest; also written as a `progress` event.
    pub progress: Option<Progress>,
    /// Also written as `checkpoint` events (number only).
    pub checkpoints: Vec<serde_json::Value>,
    pub logs: Vec<LogChunk>,
    pub artifacts: Vec<Artifact>,
}

#[derive(Debug, Clone)]
pub struct Finish {
    pub queue: QueueKey,
    pub job: JobId,
    pub fence: i64,
    pub attempt: u32,
    pub settlement: Settlement,
}

#[derive(Debug, Default)]
pub struct Finished {
    pub fenced: Vec<JobId>,
    pub slots: Vec<SlotSnapshot>,
}

#[derive(Debug, Default)]
pub struct Reaped {
    pub workers: Vec<WorkerRef>,
    /// After settling.
    pub jobs: Vec<Job>,
    pub slots: Vec<SlotSnapshot>,
}

#[derive(Debug, Default)]
pub struct Reconciled {
    /// Queues whose counts were wrong, as repaired.
    pub drifted: Vec<QueueKey>,
    /// Stale messages taken back.
    pub unpublished: u32,
    pub slots: Vec<SlotSnapshot>,
}
