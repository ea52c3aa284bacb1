use async_trait::async_trait;
use domain::{
    AgentId, TaskKey, TaskLease, TaskLeaseId, TaskRefusal, TaskReport, TaskStage, TaskWords,
    TenantId, Timestamp, Withdrawal,
};

use super::StoreError;

/// Of a result, as it is stored: all of its files together. An agent that is called may send more, since what it sends goes
/// to the worker alone.
pub const TASK_RESULT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a task that nobody touches any more is kept: the next run of its session may want the result, and an agent that
/// asks late is told what became of it.
pub const TASKS_KEPT: std::time::Duration = std::time::Duration::from_hours(24);
/// Old tasks that are removed with each new one, so that there are never many and nobody waits for a great sweep.
pub const TASKS_SWEPT_AT_ONCE: u32 = 20;

/// Tasks that external agents ask for themselves. A run offers its task to the agent that it was given and watches it; the
/// agent leases it, reports, and ends it. What either side may do is decided by [`domain::PulledTask`], on a row that is
/// locked after jobs and agents, and behind which no other lock is asked for.
#[async_trait]
pub trait AgentTaskStore: Send + Sync {
    /// OFFER. The run's task waits for its agent, or the run joins it ([`domain::PulledTask::wanted_again`]). Whatever else
    /// agents have of the same session is taken from them.
    async fn offer_task(&self, offer: TaskOffer, now: Timestamp) -> Result<Offered, StoreError>;

    /// How the task stands. `None`: it is another run's.
    async fn watch_task(&self, watch: TaskWatch) -> Result<Option<TaskView>, StoreError>;

    /// The run takes its task back, unless it is over. Returns it as it is then; `None`: it is another run's.
    async fn withdraw_task(
        &self,
        watch: TaskWatch,
        why: Withdrawal,
        now: Timestamp,
    ) -> Result<Option<TaskView>, StoreError>;

    /// LEASE. The agent is given the oldest task that waits for it and is still wanted. The caller has seen its token.
    async fn lease_task(
        &self,
        agent: AgentId,
        lease: TaskLeaseId,
        now: Timestamp,
    ) -> Result<Option<LeasedTask>, StoreError>;

    /// The agent says how far it is, which renews its lease.
    async fn report_task(
        &self,
        by: TaskHolder,
        report: TaskReport,
        now: Timestamp,
    ) -> Result<TaskLease, TaskError>;

    /// The agent hands over its result, JSON of at most [`TASK_RESULT_BYTES_MAX`]. What the same lease ended already is left
    /// as it is.
    async fn end_task(
        &self,
        by: TaskHolder,
        result: String,
        now: Timestamp,
    ) -> Result<(), TaskError>;
}

/// A task as a run offers it.
#[derive(Debug, Clone)]
pub struct TaskOffer {
    pub watch: TaskWatch,
    /// The run's number.
    pub attempt: u32,
    /// What the agent is told, a JSON object.
    pub body: String,
}

/// A run's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskWatch {
    pub tenant: TenantId,
    pub key: TaskKey,
    pub agent: AgentId,
    /// Of the run.
    pub fence: i64,
}

/// Who says something of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskHolder {
    pub agent: AgentId,
    pub key: TaskKey,
    pub lease: TaskLeaseId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It waits for its agent.
    Anew,
    /// The agent has it, or is done with it, for an earlier run.
    Joined,
    /// The job is not the run's any more.
    Fenced,
}

/// A task as the run that waits sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    pub stage: TaskStage,
    pub words: TaskWords,
    pub offered_at: Timestamp,
    /// Of one that is done.
    pub result: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LeasedTask {
    pub body: String,
    pub lease: TaskLease,
}

#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// There never was one, it is another agent's, or it is long over.
    #[error("the agent has no such task")]
    Unknown,
    #[error(transparent)]
    Refused(#[from] TaskRefusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}
