//! A job: who wants what done, where it stands, and how it may go on.
//!
//! A job moves by consuming methods that check the table of [`crate::Action`]; a store writes back what they return.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Action, AgentSpec, DependencyRule, InvalidTransition, JobError, JobId, JobKind, JobResult,
    JobSpec, JobState, Labels, Priority, Progress, QueueKey, RegisteredAgent, TenantId, Timestamp,
    WorkerId, turn,
};

/// Where the job stands, with the data that exists only there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Status {
    Pending,
    Queued,
    Running(Claim),
    Paused,
    Degraded(Claim),
    Completed,
    PartiallyCompleted,
    Failed,
    Timeout,
    Stopped,
    Cancelled,
    Orphaned,
}

/// Who runs a job. The fence that guards its writes is the job's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub worker: WorkerId,
    /// The worker's epoch at the claim; a reaped worker's is one behind.
    pub epoch: i64,
}

impl Status {
    pub const fn state(&self) -> JobState {
        match self {
            Self::Pending => JobState::Pending,
            Self::Queued => JobState::Queued,
            Self::Running(_) => JobState::Running,
            Self::Paused => JobState::Paused,
            Self::Degraded(_) => JobState::Degraded,
            Self::Completed => JobState::Completed,
            Self::PartiallyCompleted => JobState::PartiallyCompleted,
            Self::Failed => JobState::Failed,
            Self::Timeout => JobState::Timeout,
            Self::Stopped => JobState::Stopped,
            Self::Cancelled => JobState::Cancelled,
            Self::Orphaned => JobState::Orphaned,
        }
    }

    /// The status of a stored row; `None` when a row that must name its worker does not.
    pub fn from_row(state: JobState, claim: Option<Claim>) -> Option<Self> {
        Some(match state {
            JobState::Pending => Self::Pending,
            JobState::Queued => Self::Queued,
            JobState::Running => Self::Running(claim?),
            JobState::Paused => Self::Paused,
            JobState::Degraded => Self::Degraded(claim?),
            JobState::Completed => Self::Completed,
            JobState::PartiallyCompleted => Self::PartiallyCompleted,
            JobState::Failed => Self::Failed,
            JobState::Timeout => Self::Timeout,
            JobState::Stopped => Self::Stopped,
            JobState::Cancelled => Self::Cancelled,
            JobState::Orphaned => Self::Orphaned,
        })
    }

    /// The worker that runs it, if any.
    pub const fn claim(&self) -> Option<Claim> {
        match self {
            Self::Running(claim) | Self::Degraded(claim) => Some(*claim),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub tenant: TenantId,
    pub title: String,
    pub priority: Priority,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
    pub spec: JobSpec,
    pub status: Status,
    /// Runs so far, whatever their end; the number of the present run while it runs.
    pub attempt: u32,
    /// Runs that count against `max_attempts`: failures and lost leases, not a drained worker.
    pub failures: u32,
    pub max_attempts: u32,
    /// Wall-clock limit of one run.
    pub max_duration_seconds: u32,
    pub run_after: Option<Timestamp>,
    /// By when it must have ended: a waiting job fails then, a running one is ended. One that has passed is forgotten
    /// when a person starts or retries the job.
    pub deadline: Option<Timestamp>,
    /// Labels that a worker must have to run it.
    pub requires: Labels,
    /// Jobs that must end well before it may wait for a slot; it is pending until then.
    pub depends_on: Vec<JobId>,
    /// When one of them does not end well.
    pub if_prerequisite_fails: DependencyRule,
    /// Raised at every claim and every time the job is taken away; a write with an older one is refused.
    pub fence: i64,
    pub progress: Option<Progress>,
    pub result: Option<JobResult>,
    /// Why the latest run failed; nothing when it did not. Those of earlier runs are kept with their attempts.
    pub error: Option<JobError>,
    pub parent: Option<JobId>,
    /// Set when a running job was asked to stop; its worker ends it.
    pub stop_requested_at: Option<Timestamp>,
    /// Set when a running job was asked to pause; its worker ends the run. A stop wins over it.
    pub pause_requested_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When it last began to wait.
    pub queued_at: Option<Timestamp>,
    /// Its place in its queue; see [`crate::turn`]. A job that is queued again after a run keeps its place.
    pub turn: Option<Timestamp>,
    /// When its latest run began.
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl Job {
    /// As it is to be run: a session that is routed, with the spec of the agent that it was given.
    #[must_use]
    pub fn given(mut self, agent: &RegisteredAgent) -> Self {
        if let JobSpec::Session(session) = &mut self.spec {
            let spec = agent.spec();
            session.agent = match &session.agent {
                AgentSpec::Routed(request) => spec.handed(request),
                _ => spec,
            };
        }
        self
    }

    pub const fn kind(&self) -> JobKind {
        self.spec.kind()
    }

    pub const fn state(&self) -> JobState {
        self.status.state()
    }

    pub const fn queue(&self) -> QueueKey {
        QueueKey {
            tenant: self.tenant,
            kind: self.kind(),
        }
    }

    /// True when it waits for a slot and its time has come.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.state() == JobState::Queued && self.run_after.is_none_or(|at| at <= now)
    }

    /// What a person or client asks of a job. A running job is only *asked* to stop or to pause: its worker ends the run.
    pub fn steer(self, action: Action, now: Timestamp) -> Result<Self, InvalidTransition> {
        match action {
            Action::Start | Action::Resume => self.enqueue(action, now),
            Action::Retry => self.retry(now),
            Action::Cancel => self.end(Action::Cancel, Status::Cancelled, now),
            Action::Stop => self.stop(now),
            Action::Pause => self.pause(now),
            _ => Err(InvalidTransition {
                from: self.state(),
                action,
            }),
        }
    }

    fn stop(mut self, now: Timestamp) -> Result<Self, InvalidTransition> {
        if self.state().holds_slot() {
            self.state().after(Action::Stop)?;
            self.stop_requested_at = self.stop_requested_at.or(Some(now));
            self.updated_at = now;
            return Ok(self);
        }
        self.end(Action::Stop, Status::Stopped, now)
    }

    fn pause(mut self, now: Timestamp) -> Result<Self, InvalidTransition> {
        self.state().after(Action::Pause)?;
        if self.stop_requested_at.is_none() && self.pause_requested_at.is_none() {
            self.pause_requested_at = Some(now);
            self.updated_at = now;
        }
        Ok(self)
    }

    /// Once more, with all its attempts before it again. What it made so far stays in its history.
    fn retry(mut self, now: Timestamp) -> Result<Self, InvalidTransition> {
        self.failures = 0;
        self.enqueue(Action::Retry, now)
    }

    fn enqueue(mut self, action: Action, now: Timestamp) -> Result<Self, InvalidTransition> {
        self.state().after(action)?;
        self.status = Status::Queued;
        self.stop_requested_at = None;
        self.pause_requested_at = None;
        self.run_after = self.run_after.filter(|at| *at > now);
        // Who asks for it now wants it all the same; with that deadline it would fail at once.
        self.deadline = self.deadline.filter(|at| *at > now);
        self.queued_at = Some(now);
        self.turn = Some(turn(self.priority, now));
        self.finished_at = None;
        self.updated_at = now;
        Ok(self)
    }

    fn end(
        mut self,
        action: Action,
        status: Status,
        now: Timestamp,
    ) -> Result<Self, InvalidTransition> {
        self.state().after(action)?;
        self.status = status;
        self.finished_at = Some(now);
        self.updated_at = now;
        Ok(self)
    }
}
