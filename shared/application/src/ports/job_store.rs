//! What clients do with their jobs. Every method takes the tenant first.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{
    Account, Action, Artifact, ArtifactId, Attempt, Checkpoint, FAMILY_DEPTH_MAX,
    InvalidTransition, Job, JobEvent, JobId, JobKind, JobState, LogChunk, LogCursor, Priority,
    QueueKey, SlotSnapshot, TenantId, Timestamp,
};

use super::{StoreError, Wakeups};

#[async_trait]
pub trait JobStore: Send + Sync {
    /// SUBMIT. One transaction for many clients' submissions; each is taken whole or refused whole.
    ///
    /// Per submission: the tenant exists and is active, and its backlog (all kinds, pending ones included) has room.
    /// Every job that one of them waits for must be the tenant's, stored already or of the same submission; so must be a
    /// parent, and stored already, with no more than [`domain::FAMILY_DEPTH_MAX`] generations and nothing used up that its
    /// children would draw on.
    ///
    /// Writes the jobs with their `created` (and `queued`) events and raises the counts of `tenant_slots`. As far as the
    /// relay's window has room ([`SlotSnapshot::to_relay`]), wake-ups for jobs that are due are counted as published at
    /// once and returned in `publish`. [`Submitted::to_release`] says that a job waits for nothing any more.
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
    /// Writes the fitting event (`queued`, `cancelled`, `stop_requested`, `pause_requested`, `stopped`) and keeps the
    /// slots' counts. Asking a running job to stop or to pause twice changes nothing the second time.
    ///
    /// Resuming a session grants each budget of its line that is used up once more ([`domain::Account::granted`]); it is
    /// refused where such a one is to stop its sessions, and while the tenant's month is used up.
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

    /// The checkpoints of a job that are kept, the oldest first. `Ok(None)`: no such job.
    async fn checkpoints(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<Option<Vec<CheckpointView>>, StoreError>;

    /// Adds an earlier checkpoint once more, as the newest, so that the next run starts from it, and a `checkpoint` event
    /// that names both. Refused while the job runs.
    async fn restore_checkpoint(
        &self,
        tenant: TenantId,
        job: JobId,
        number: u32,
        now: Timestamp,
    ) -> Result<Restored, StoreError>;

    /// One row a kind: depth, age, running, quota.
    async fn queues(&self, tenant: TenantId) -> Result<Vec<QueueView>, StoreError>;

    /// Pauses, resumes or drains the tenant's queue of a kind, or all of them. A paused queue takes jobs and starts
    /// none; a draining one starts those it has and takes none ([`Refused::QueueDraining`]). Resuming ends both. `None`:
    /// no such tenant.
    async fn steer_queues(
        &self,
        tenant: TenantId,
        kind: Option<JobKind>,
        action: QueueAction,
    ) -> Result<Option<Vec<SlotSnapshot>>, StoreError>;

    /// Everything that decides when a job runs, read in one transaction. `None`: no such job.
    async fn waiting(
        &self,
        tenant: TenantId,
        job: JobId,
        now: Timestamp,
    ) -> Result<Option<Waiting>, StoreError>;
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
    /// Already counted as published; to be sent to the broker now.
    pub publish: Vec<Wakeups>,
    /// Of every queue that changed.
    pub slots: Vec<SlotSnapshot>,
    /// All prerequisites of some job had ended already: [`super::EngineStore::release`] has something to do.
    pub to_release: bool,
}

const fn draining_words(paused: bool) -> &'static str {
    if paused {
        "being drained, and paused,"
    } else {
        "being drained"
    }
}

/// Why a submission was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("tenant {0} does not exist")]
    TenantUnknown(TenantId),
    #[error("tenant {0} is not active")]
    TenantInactive(TenantId),
    #[error("the queue of {kind} jobs is {} and takes no new ones; resume it first", draining_words(*.paused))]
    QueueDraining {
        kind: JobKind,
        /// It starts none either.
        paused: bool,
    },
    #[error("the tenant has no job {0} to wait for")]
    PrerequisiteUnknown(JobId),
    #[error("the tenant has no job {0} to belong to")]
    ParentUnknown(JobId),
    #[error("job {0} cannot have children: a family has at most {depth} generations", depth = FAMILY_DEPTH_MAX)]
    FamilyTooDeep(JobId),
    /// Of a session above it, or, of one that is to be resumed, its own.
    #[error("the budget of session {of} is used up: {what}")]
    BudgetUsedUp { of: JobId, what: String },
    #[error("the tenant's budget of this month is used up; the next month begins at {until}")]
    MonthUsedUp {
        until: Timestamp,
        /// How long that is from now.
        seconds: u64,
    },
    #[error(
        "{waiting} jobs wait already and {offered} were offered; the tenant's limit is {limit}"
    )]
    BacklogFull {
        limit: u32,
        waiting: u32,
        offered: u32,
    },
}

impl Refused {
    pub fn month_used_up(until: Timestamp, now: Timestamp) -> Self {
        let seconds = (until - now).num_seconds().max(1);
        Self::MonthUsedUp {
            until,
            seconds: seconds.unsigned_abs(),
        }
    }

    /// Unless a family takes one more job, below `ancestors`, the first of the family first.
    pub fn by_family(ancestors: &[JobId], accounts: &BTreeMap<JobId, Account>) -> Result<(), Self> {
        let Some(parent) = ancestors.last() else {
            return Ok(());
        };
        if ancestors.len() >= FAMILY_DEPTH_MAX {
            return Err(Self::FamilyTooDeep(*parent));
        }
        let used_up = |of: &JobId| Some((*of, accounts.get(of)?.used_up()?));
        match ancestors.iter().rev().find_map(used_up) {
            Some((of, what)) => Err(Self::BudgetUsedUp { of, what }),
            None => Ok(()),
        }
    }
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
    pub publish: Vec<Wakeups>,
    pub slots: Vec<SlotSnapshot>,
    /// Others wait for its end: [`super::EngineStore::release`] has something to do.
    pub to_release: bool,
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

/// A checkpoint in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointView {
    pub number: u32,
    pub attempt: u32,
    pub at: Timestamp,
    /// Of its data as JSON text, as the store writes it.
    pub bytes: u64,
}

/// What came of restoring a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Restored {
    /// The new one.
    Done(Checkpoint),
    NoJob,
    NoCheckpoint,
    Running(JobState),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueAction {
    Pause,
    Resume,
    Drain,
}

/// What the store knows of why a job waits; [`crate::use_cases::why`] makes words of it.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of their own, any mix of them"
)]
pub struct Waiting {
    pub job: Job,
    /// Of the job's queue.
    pub slots: SlotSnapshot,
    pub tenant_active: bool,
    /// The queue itself, whatever the tenant is.
    pub queue_paused: bool,
    /// And all other queues of the tenant.
    pub all_queues_paused: bool,
    pub draining: bool,
    /// Until when its tenant's month is used up, if it is and that keeps such jobs.
    pub month_used_up_until: Option<Timestamp>,
    /// Due jobs of its queue whose turn comes before its own, counted up to [`Waiting::COUNTED`]. Those that ask for
    /// labels are before a job that asks for some only, and only when a live worker could run them: others hold nobody up.
    pub ahead: u32,
    /// Runs of its queue, the oldest first, at most [`Waiting::HOLDERS`].
    pub holders: Vec<Holder>,
    /// Its prerequisites that have not ended well, at most [`Waiting::HOLDERS`].
    pub prerequisites: Vec<(JobId, JobState)>,
    /// Live workers that take its kind and have all labels that it asks for.
    pub workers: u32,
    /// Of those, the slots that are free by the store's count.
    pub free_worker_slots: u32,
    /// Lengths of the queue's latest completed runs in seconds, the latest first, at most [`Waiting::HOLDERS`].
    pub recent_seconds: Vec<f64>,
}

impl Waiting {
    /// Nobody reads a longer number.
    pub const COUNTED: u32 = 100_000;
    /// Nobody reads a longer list.
    pub const HOLDERS: u32 = 50;
}

/// A run that holds a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub job: JobId,
    pub title: String,
    pub worker: domain::WorkerId,
    pub started_at: Timestamp,
}

/// A queue as a person sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueView {
    pub queue: QueueKey,
    pub tenant_slug: String,
    /// Jobs that wait.
    pub depth: u32,
    /// When the oldest of those whose time has come began to wait.
    pub oldest_queued_at: Option<Timestamp>,
    pub running: u32,
    pub quota: u32,
    pub paused: bool,
    /// It takes no new jobs.
    pub draining: bool,
}
