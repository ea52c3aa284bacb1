//! What the engine does with everybody's jobs: the transactions of dispatch.
//!
//! Locks are always taken in the same order, so that no two of these can wait for each other: the worker's row, then
//! `tenant_slots` rows by (tenant, kind), then jobs by id, then `budgets` by job, then `tenant_months` and `tenants` by tenant.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    Artifact, Job, JobId, JobKind, Labels, LogChunk, Outcome, OverBudget, Progress, QueueKey,
    Settlement, SlotSnapshot, Spent, TenantId, Timestamp, WorkerRef, WorkerView,
};

use super::{StoreError, Wakeups};

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
    /// to stop or to pause.
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

    /// RELAY. Counts further wake-ups as published, of queues that have more due jobs than wake-ups and room in their
    /// window, not paused and of active tenants, the emptiest first, and returns them to be sent. At most `limit`
    /// wake-ups in all. Touches no job.
    async fn relay(&self, limit: u32, now: Timestamp) -> Result<Relayed, StoreError>;

    /// Takes back the count of wake-ups that could not be sent.
    async fn unpublish(&self, wakeups: Vec<Wakeups>) -> Result<Vec<SlotSnapshot>, StoreError>;

    /// CLAIM. One transaction for many tenants: the worker's lease is checked, slots are counted under lock, and of
    /// each queue the jobs whose turn it is go to running, at most as many as wake-ups were taken (and labelled ones
    /// asked for) and as slots are free, with attempt, fence and epoch set and a `started` event and an open attempt
    /// written. The wake-ups are used up whatever came of them. A paused queue or an inactive tenant gives nothing; a
    /// job whose deadline has come is passed over, EXPIRE ends it.
    async fn claim(
        &self,
        worker: WorkerRef,
        requests: Vec<ClaimRequest>,
        now: Timestamp,
    ) -> Result<Claimed, LeaseError>;

    /// Queues of these kinds with free slots and due jobs that ask for labels which are all among `labels`, those with
    /// the fewest running jobs for their weight first, at most `limit`, with how many such jobs wait (counted up to
    /// their free slots). Those whose deadline has come are none.
    async fn labelled(
        &self,
        kinds: &[JobKind],
        labels: &Labels,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(QueueKey, u32)>, StoreError>;

    /// PROMOTE. Queued jobs whose `run_after` has come become due, the longest overdue first, at most `limit`.
    async fn promote(&self, limit: u32, now: Timestamp) -> Result<Promoted, StoreError>;

    /// RELEASE. Pending jobs whose prerequisites have all ended well are queued; those of which one has not are failed
    /// or cancelled by their rule, which may in turn decide others. Looks at `limit` jobs at most, which get on by it even
    /// where they wait on for others, and says whether more are left.
    async fn release(&self, limit: u32, now: Timestamp) -> Result<Moved, StoreError>;

    /// EXPIRE. Pending, queued and paused jobs whose deadline has come fail with `DEADLINE_PASSED`, at most `limit`.
    async fn expire(&self, limit: u32, now: Timestamp) -> Result<Moved, StoreError>;

    /// TURN. Tenants whose month has ended may start sessions again. Returns their queues.
    async fn turn_months(&self, now: Timestamp) -> Result<Vec<SlotSnapshot>, StoreError>;

    /// WRITE. Progress, checkpoints, logs and artifacts of running jobs, batched. What a run has spent since it was last
    /// reported is added, in the same transaction, to the account of each session of its line that names a budget
    /// ([`domain::Account`]) and to its tenant's month; a tenant whose month is used up by that starts no more sessions.
    async fn report(
        &self,
        worker: WorkerRef,
        reports: Vec<Report>,
        now: Timestamp,
    ) -> Result<Reported, StoreError>;

    /// What the runs of a session have used, and whether something that it draws on is used up by its family. `None`: no
    /// such job.
    async fn standing(&self, tenant: TenantId, job: JobId) -> Result<Option<Standing>, StoreError>;

    /// FINISH. Settles runs: job, attempt and event written, slots given back. A job that is no longer at its fence
    /// is left alone and named in `fenced`. A stop or a pause that was asked for meanwhile wins over being queued
    /// again ([`Settlement::unless_asked`]).
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

    /// RECONCILE. Recounts every queue's pending, queued, due and running, and repairs drift. Names queues that have
    /// wake-ups, due jobs and free slots and never came to the end of their wake-ups for `silence`: some may be lost.
    async fn reconcile(&self, silence: Duration, now: Timestamp) -> Result<Reconciled, StoreError>;

    /// Puts the count of wake-ups right where the broker was asked how many it has and the queue has not changed since.
    async fn recount_published(
        &self,
        counted: Vec<(SlotSnapshot, u32)>,
    ) -> Result<Vec<SlotSnapshot>, StoreError>;

    /// The broker lost its data: no queue has wake-ups any more.
    async fn forget_published(&self) -> Result<Vec<SlotSnapshot>, StoreError>;

    /// The next fence of a shared resource: greater than every one before, whatever else was lost. Asked for by who
    /// just got the lock; a write that is guarded by an older one is refused.
    async fn next_fence(&self, resource: &str) -> Result<i64, StoreError>;

    /// Nobody was given a later fence of the resource since.
    async fn is_latest_fence(&self, guard: &Guard) -> Result<bool, StoreError>;

    /// Every queue with something waiting or running: what coordination is rebuilt from. At most `limit`.
    async fn slots(&self, limit: u32) -> Result<Vec<SlotSnapshot>, StoreError>;

    async fn workers(&self) -> Result<Vec<WorkerView>, StoreError>;
}

#[derive(Debug, Clone)]
pub struct NewWorker {
    pub id: domain::WorkerId,
    pub host: String,
    pub kinds: Vec<JobKind>,
    pub labels: Labels,
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
    /// Those that were asked to pause, and not to stop.
    pub pause_requested: Vec<JobId>,
    /// All that run for this worker, as the store knows it.
    pub held: Vec<HeldJob>,
}

/// One claim of a job: a later one has another fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldJob {
    pub tenant: TenantId,
    pub job: JobId,
    pub fence: i64,
}

#[derive(Debug, Default)]
pub struct Relayed {
    pub publish: Vec<Wakeups>,
    pub slots: Vec<SlotSnapshot>,
    /// As many wake-ups were counted, or queues looked at, as one call may: others may want some.
    pub more: bool,
}

/// What a worker wants of a queue. Requests of one call for one queue are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimRequest {
    pub queue: QueueKey,
    /// Wake-ups taken from the broker; each may bring one job that asks for no labels.
    pub wakeups: u32,
    /// Beyond those, at most so many jobs that ask for labels which the worker has.
    pub labelled: u32,
}

#[derive(Debug, Default)]
pub struct Claimed {
    /// Running, with their new fence and attempt; those of a queue in the order of their turns.
    pub jobs: Vec<Job>,
    pub slots: Vec<SlotSnapshot>,
}

#[derive(Debug, Default)]
pub struct Promoted {
    pub jobs: u32,
    pub slots: Vec<SlotSnapshot>,
    /// When the next job becomes due, as far as is known now.
    pub next: Option<Timestamp>,
}

/// Jobs that the engine moved, as they are now.
#[derive(Debug, Default)]
pub struct Moved {
    pub jobs: Vec<Job>,
    pub slots: Vec<SlotSnapshot>,
    /// Others wait for the end of one of these jobs, or more are left than were looked at: RELEASE has something to do.
    pub to_release: bool,
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
    /// What all runs of the session have used together, where they used anything. One that is less than was said before
    /// changes nothing, so a report may be sent again.
    pub spent: Option<Spent>,
    /// Also written as `checkpoint` events (number only).
    pub checkpoints: Vec<serde_json::Value>,
    pub logs: Vec<LogChunk>,
    pub artifacts: Vec<Artifact>,
}

/// What came of reports.
#[derive(Debug, Default)]
pub struct Reported {
    /// Jobs that are no longer the worker's; nothing of them was written.
    pub lost: Vec<JobId>,
    /// Written, and to be ended: what they draw on is used up. Only of reports that said what was spent.
    pub over: Vec<(JobId, OverBudget)>,
}

/// How a session stands before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub spent: Spent,
    pub over: Option<OverBudget>,
}

#[derive(Debug, Clone)]
pub struct Finish {
    pub queue: QueueKey,
    pub job: JobId,
    pub fence: i64,
    pub attempt: u32,
    pub settlement: Settlement,
    /// What the run says of the registered agent that did the work; nothing of one that was not routed.
    pub agent: Outcome,
    /// What the run said last, written with its end: most runs are short, and a transaction for a line is dear.
    pub logs: Vec<LogChunk>,
    /// Locks under which the run worked, with their fences: when one of them was given to somebody else meanwhile, the
    /// end is refused like one with an old fence of the job.
    pub guards: Vec<Guard>,
}

/// A lock that a run holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    pub resource: String,
    pub fence: i64,
}

#[derive(Debug, Default)]
pub struct Finished {
    /// Not this worker's any more, or guarded by a lock that is not; nothing of them was written.
    pub fenced: Vec<JobId>,
    pub slots: Vec<SlotSnapshot>,
    /// Others wait for the end of one of these jobs: RELEASE has something to do.
    pub to_release: bool,
}

#[derive(Debug, Default)]
pub struct Reaped {
    pub workers: Vec<WorkerRef>,
    /// After settling.
    pub jobs: Vec<Job>,
    pub slots: Vec<SlotSnapshot>,
    /// Others wait for the end of one of these jobs: RELEASE has something to do.
    pub to_release: bool,
}

#[derive(Debug, Default)]
pub struct Reconciled {
    /// Queues whose counts were wrong, as repaired.
    pub drifted: Vec<QueueKey>,
    pub slots: Vec<SlotSnapshot>,
    /// As they are now.
    pub silent: Vec<SlotSnapshot>,
}
