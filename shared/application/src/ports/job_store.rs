//! What clients do with their jobs. Every method takes the tenant first.

use async_trait::async_trait;
use domain::{
    Action, Artifact, ArtifactId, Attempt, Checkpoint, InvalidTransition, Job, JobEvent, JobId,
    JobKind, JobState, LogChunk, LogCursor, Priority, QueueKey, SlotSnapshot, TenantId, Timestamp,
};

use super::{Message, StoreError};

#[async_trait]
pub trait JobStore: Send + Sync {
    /// SUBMIT. One transaction for many clients' submissions; each is taken whole or refused whole.
    ///
    /// Per submission: the tenant exists and is active, and its backlog (all kinds, pending ones included) has room.
    /// Writes the jobs with their `created` (and `queued`) events and raises `tenant_slots.queued`. Where the relay
    /// window has room and nothing older waits unpublished, jobs that are due are marked published at once and
    /// returned in `publish`.
    async fn submit(
        &self,
        submissions: Vec<Submission>,
        now: Timestamp,
    ) -> Result<Submitted, StoreError>;

    async fn get(&self, tenant: TenantId, job: JobId) -> Result<Option<Job>, StoreError>;

    /// Newest first. At most `filter.limit` jobs.
    async fn list(&self, tenant: TenantId, filter: JobFilter) -> Result<Vec<Job>, StoreError>;

    /// A person's or client's action, decided by [`Job::steer`] on the locked row. `Ok(None)`: no such job.
    ///
    /// Writes the fitting event (`queued`, `cancelled`, `stop_requested`, `stopped`) and keeps the slots' counts.
    /// Asking a running job to stop twice changes nothing the second time.
    async fn steer(
        &self,
        tenant: TenantId,
        job: JobId,
        action: Action,
        now: Timestamp,
    ) -> Result<Option<Steered>, SteerError>;

    /// Events after `after` (0 for all), in order, at most `limit`. `Ok(None)`: no such job.
    async fn events(
        &self,
        tenant: TenantId,
        job: JobId,
        after: i64,
        limit: u32,
    ) -> Result<Option<Vec<JobEvent>>, StoreError>;

    /// Log chunks after `after`, in order, at most `limit`. `Ok(None)`: no such job.
    async fn logs(
        &self,
        tenant: TenantId,
        job: JobId,
        after: LogCursor,
        limit: u32,
    ) -> Result<Option<Vec<LogChunk>>, StoreError>;

    /// The last `count` chunks, in order. `Ok(None)`: no such job.
    async fn log_tail(
        &self,
        tenant: TenantId,
        job: JobId,
        count: u32,
    ) -> Result<Option<Vec<LogChunk>>, StoreError>;

    /// First run first. `Ok(None)`: no such job.
    async fn attempts(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Vec<Attempt>>, StoreError>;

    /// By run, then by name. `Ok(None)`: no such job.
    async fn artifacts(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Vec<Artifact>>, StoreError>;

    /// One artifact of one job.
    async fn artifact(
        &self,
        tenant: TenantId,
        job: JobId,
        artifact: ArtifactId,
    ) -> Result<Option<Artifact>, StoreError>;

    /// The newest checkpoint of a job.
    async fn latest_checkpoint(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Checkpoint>, StoreError>;

    /// One row a kind: depth, age, running, quota.
    async fn queues(&self, tenant: TenantId) -> Result<Vec<QueueView>, StoreError>;
}

/// What one client hands in at once.
#[derive(Debug, Clone)]
pub struct Submission {
    pub tenant: TenantId,
    /// Not empty, all of `tenant`, `Pending` or `Queued`.
    pub jobs: Vec<Job>,
}

#[derive(Debug, Default)]
pub struct Submitted {
    /// In the order of the submissions.
    pub outcomes: Vec<Result<(), Refused>>,
    /// Already marked published; to be sent to the broker now.
    pub publish: Vec<Message>,
    /// Of every queue that changed.
    pub slots: Vec<SlotSnapshot>,
}

/// Why a submission was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("tenant {0} does not exist")]
    TenantUnknown(TenantId),
    #[error("tenant {0} is not active")]
    TenantInactive(TenantId),
    #[error(
        "{waiting} jobs wait already and {offered} were offered; the tenant's limit is {limit}"
    )]
    BacklogFull {
        limit: u32,
        waiting: u32,
        offered: u32,
    },
}

#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub kind: Option<JobKind>,
    /// Any of these; empty for all.
    pub states: Vec<JobState>,
    pub priority: Option<Priority>,
    /// Carries this tag.
    pub tag: Option<String>,
    /// The title contains this, without regard to case.
    pub title: Option<String>,
    /// Only jobs created before this one (its id sorts after them): the keyset of the previous page.
    pub before: Option<JobId>,
    pub limit: u32,
}

#[derive(Debug)]
pub struct Steered {
    /// After the action.
    pub job: Job,
    pub publish: Vec<Message>,
    pub slots: Vec<SlotSnapshot>,
}

#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    #[error(transparent)]
    Invalid(#[from] InvalidTransition),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A queue as a person sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueView {
    pub queue: QueueKey,
    pub tenant_slug: String,
    /// Jobs that wait.
    pub depth: u32,
    /// When the oldest of them began to wait.
    pub oldest_queued_at: Option<Timestamp>,
    pub running: u32,
    pub quota: u32,
    pub paused: bool,
}
