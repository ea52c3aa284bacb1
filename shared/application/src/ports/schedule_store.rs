use async_trait::async_trait;
use domain::{Job, JobId, Schedule, ScheduleId, TenantId, Timestamp};

use super::{Refused, StoreError, Submitted};

/// Schedules, and the one transaction in which a tick becomes jobs.
///
/// A schedule's row is locked before `tenant_slots` and jobs, and nothing that holds those asks for a schedule.
#[async_trait]
pub trait ScheduleStore: Send + Sync {
    async fn create_schedule(&self, schedule: Schedule) -> Result<(), ScheduleStoreError>;

    async fn schedule(
        &self,
        tenant: TenantId,
        id: ScheduleId,
    ) -> Result<Option<Schedule>, StoreError>;

    async fn schedule_by_name(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<Schedule>, StoreError>;

    /// By name, those after `after`, at most `limit`.
    async fn schedules(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Schedule>, StoreError>;

    /// Writes what a person can change of `after`, and its next tick, if the stored schedule is still at the version and
    /// the next tick of `before`. False: somebody else changed it, a tick came, or it is gone; read it again.
    async fn change_schedule(
        &self,
        before: &Schedule,
        after: &Schedule,
    ) -> Result<bool, StoreError>;

    /// Its jobs stay. False: no such schedule of this tenant.
    async fn delete_schedule(&self, tenant: TenantId, id: ScheduleId) -> Result<bool, StoreError>;

    /// Schedules of all tenants whose next tick has come, the longest due first, at most `limit`. Those of inactive
    /// tenants are among them: what becomes of their ticks is refused and told.
    async fn due_schedules(&self, limit: u32, now: Timestamp) -> Result<DueSchedules, StoreError>;

    /// FIRE. One transaction: the schedule is still at the version, and (at a tick) the next tick, that the caller saw;
    /// its previous job has ended or may be overlapped; the jobs are submitted as by [`super::JobStore::submit`], each
    /// taken or refused by itself; and the schedule says what came of it. Of callers at once, one fires.
    async fn fire(&self, firing: Firing, now: Timestamp) -> Result<Fired, StoreError>;
}

/// How many schedules a tenant may have: each may make a job a minute.
pub const SCHEDULES_MAX: u32 = 500;

#[derive(Debug, thiserror::Error)]
pub enum ScheduleStoreError {
    #[error("a schedule with the name `{0}` exists already")]
    NameTaken(String),
    #[error("the tenant has {SCHEDULES_MAX} schedules and may not have more")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Default)]
pub struct DueSchedules {
    pub schedules: Vec<Schedule>,
    /// When the next tick comes of those that are not due yet.
    pub next: Option<Timestamp>,
}

/// What is to become of a schedule's ticks, as worked out from what was read.
#[derive(Debug, Clone)]
pub struct Firing {
    pub tenant: TenantId,
    pub schedule: ScheduleId,
    /// The version that the jobs were made from.
    pub version: i64,
    /// Nothing when a person asked for a job between the ticks; then nothing but `last_job` changes, and a previous job
    /// that has not ended is no hindrance.
    pub tick: Option<NextTick>,
    /// All of `tenant`; none where the ticks make no job.
    pub jobs: Vec<Job>,
    /// Why there are no jobs although there should be.
    pub error: Option<String>,
    /// Make no jobs while the previous one has not ended.
    pub unless_running: bool,
}

/// The step from one tick to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextTick {
    /// As it was read; nobody fires where it is not this any more.
    pub expected: Timestamp,
    /// The latest tick that has come.
    pub latest: Timestamp,
    pub next: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub struct Fired {
    /// Somebody else fired it, changed it, paused it or deleted it meanwhile: nothing was done.
    pub moved: bool,
    /// The jobs that were taken.
    pub jobs: Vec<JobId>,
    /// Of the first job that was not taken.
    pub refused: Option<Refused>,
    /// The previous job that has not ended, where that kept this tick from making any.
    pub overlaps: Option<JobId>,
    pub submitted: Submitted,
}

impl Fired {
    /// Why the ticks of `firing` did not make all their jobs, as the schedule is to say it; `None` when they did.
    pub fn error(&self, firing: &Firing) -> Option<String> {
        let refused = || self.refused.as_ref().map(ToString::to_string);
        let overlaps = || {
            let words = |job| format!("the previous job {job} had not ended, and overlap is skip");
            self.overlaps.map(words)
        };
        firing.error.clone().or_else(refused).or_else(overlaps)
    }
}
