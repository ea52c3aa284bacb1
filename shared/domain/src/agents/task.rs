//! A task that an external agent asks for itself: who has it, until when, and what was said of it. A run offers it and
//! waits; the agent leases it, renews the lease with each report, and ends it with a result.
//!
//! A run that is lost leaves its task: the next one of the same session joins it, as long as the agent keeps its lease, so
//! that no work is begun twice. Nothing here knows what the task is, or what its result means.

mod key;
mod stage;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

pub use key::{TaskKey, UnknownTask};
pub use stage::{TaskLease, TaskStage};
pub use words::{TaskReport, TaskWords};

use crate::{AgentId, TaskLeaseId, TenantId, Timestamp};

/// How long an agent keeps a task without a word, as long as one that misses three beats is believed to live.
pub const TASK_LEASE: Duration = Duration::from_secs(30);
/// How often it is asked to report: two reports may get lost.
pub const TASK_RENEWAL: Duration = Duration::from_secs(10);

/// Why a task is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// Nobody wants it any more.
    Cancelled,
    /// Its agent is not heard of.
    Lost,
}

/// Why an agent is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TaskRefusal {
    #[error("the session does not want the task any more")]
    Cancelled,
    #[error("the lease is not this agent's any more")]
    LeaseLost,
}

/// A task as it is stored, less its body and its result.
#[derive(Debug, Clone, PartialEq)]
pub struct PulledTask {
    pub key: TaskKey,
    pub tenant: TenantId,
    pub agent: AgentId,
    /// Of the run that waits for it.
    pub fence: i64,
    /// That run's number.
    pub attempt: u32,
    pub stage: TaskStage,
    pub words: TaskWords,
    pub offered_at: Timestamp,
}

impl PulledTask {
    /// A further run of the session wants it from the same agent. It joins where the agent works on, or is done for a run
    /// that was lost (`unbroken`: all runs since were); else it is begun anew. False: it is to be begun.
    #[must_use]
    pub fn wanted_again(
        self,
        fence: i64,
        attempt: u32,
        unbroken: bool,
        now: Timestamp,
    ) -> (Self, bool) {
        let joins = unbroken
            && match self.stage {
                TaskStage::Leased(lease) => lease.until > now,
                TaskStage::Done(_) => true,
                TaskStage::Offered | TaskStage::Cancelled | TaskStage::Lost => false,
            };
        let again = Self {
            fence,
            attempt,
            ..self
        };
        if joins {
            return (again, true);
        }
        let anew = Self {
            stage: TaskStage::Offered,
            words: TaskWords::default(),
            offered_at: now,
            ..again
        };
        (anew, false)
    }

    /// What waits is given to its agent. `None`: it does not wait.
    #[must_use]
    pub fn leased(self, id: TaskLeaseId, now: Timestamp) -> Option<(Self, TaskLease)> {
        if self.stage != TaskStage::Offered {
            return None;
        }
        let lease = TaskLease {
            id,
            until: now + TASK_LEASE,
        };
        let stage = TaskStage::Leased(lease);
        Some((Self { stage, ..self }, lease))
    }

    /// A report renews the lease. `wanted`: the session still wants the task.
    pub fn reported(
        mut self,
        lease: TaskLeaseId,
        report: TaskReport,
        wanted: bool,
        now: Timestamp,
    ) -> Result<(Self, TaskLease), TaskRefusal> {
        self.hold(lease, wanted, now)?;
        let lease = TaskLease {
            id: lease,
            until: now + TASK_LEASE,
        };
        self.stage = TaskStage::Leased(lease);
        self.words.add(report);
        Ok((self, lease))
    }

    /// The result is there. `None`: it was there before, from the same lease.
    pub fn done(
        mut self,
        lease: TaskLeaseId,
        wanted: bool,
        now: Timestamp,
    ) -> Result<Option<Self>, TaskRefusal> {
        if self.stage == TaskStage::Done(lease) {
            return Ok(None);
        }
        self.hold(lease, wanted, now)?;
        self.stage = TaskStage::Done(lease);
        Ok(Some(self))
    }

    /// The run takes it back. `None`: it is over already, whichever way.
    #[must_use]
    pub fn withdrawn(self, why: Withdrawal) -> Option<Self> {
        let stage = match (self.stage, why) {
            (TaskStage::Offered | TaskStage::Leased(_), Withdrawal::Cancelled) => {
                TaskStage::Cancelled
            }
            (TaskStage::Offered | TaskStage::Leased(_), Withdrawal::Lost) => TaskStage::Lost,
            (TaskStage::Done(_) | TaskStage::Cancelled | TaskStage::Lost, _) => return None,
        };
        Some(Self { stage, ..self })
    }

    fn hold(&self, lease: TaskLeaseId, wanted: bool, now: Timestamp) -> Result<(), TaskRefusal> {
        match self.stage {
            TaskStage::Cancelled => Err(TaskRefusal::Cancelled),
            TaskStage::Leased(held) if held.id == lease && held.until > now => {
                if wanted {
                    Ok(())
                } else {
                    Err(TaskRefusal::Cancelled)
                }
            }
            _ => Err(TaskRefusal::LeaseLost),
        }
    }
}
