//! A task that an external agent asks for itself: who has it, until when, and what was said of it. A run offers it and
//! waits; the agent leases it, renews the lease with each report, and ends it with a result.
//!
//! A run that is lost leaves its task: the next one of the same session joins it, as long as the agent keeps its lease, so
//! that no work is begun twice. Nothing here knows what the task is, or what its result means.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{AgentId, JobId, Progress, TaskLeaseId, TenantId, Timestamp, Usage};

/// How long an agent keeps a task without a word, as long as one that misses three beats is believed to live.
pub const TASK_LEASE: Duration = Duration::from_secs(30);
/// How often it is asked to report: two reports may get lost.
pub const TASK_RENEWAL: Duration = Duration::from_secs(10);
/// Messages that wait for the run to fetch them; of more the oldest are forgotten.
const MESSAGES_MAX: usize = 50;

/// By what an agent knows a task: the session, and the round in which it mends its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    pub job: JobId,
    pub round: u32,
}

/// The text names no task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no task")]
pub struct UnknownTask(pub String);

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.round {
            0 => self.job.fmt(f),
            round => write!(f, "{}-{round}", self.job),
        }
    }
}

impl FromStr for TaskKey {
    type Err = UnknownTask;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownTask(text.chars().take(64).collect());
        let parse = |job: &str, round| {
            let job = job.parse().map_err(|_| unknown())?;
            Ok(Self { job, round })
        };
        match text.rsplit_once('-') {
            Some((job, round)) if job.len() == UUID_CHARS => {
                parse(job, round.parse().map_err(|_| unknown())?)
            }
            _ => parse(text, 0),
        }
    }
}

/// Of an id written with its dashes, the only form that is handed out.
const UUID_CHARS: usize = 36;

/// An agent's hold on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLease {
    pub id: TaskLeaseId,
    pub until: Timestamp,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStage {
    /// Waits for its agent.
    Offered,
    Leased(TaskLease),
    /// Its result is there.
    Done(TaskLeaseId),
    /// Nobody wants it any more.
    Cancelled,
    /// It was taken from its agent.
    Lost,
}

/// Why a task is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// Nobody wants it any more.
    Cancelled,
    /// Its agent is not heard of.
    Lost,
}

/// What an agent says on its way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskReport {
    pub progress: Option<Progress>,
    /// Of the task so far.
    pub usage: Option<Usage>,
}

/// What was said of a task, for the run that waits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskWords {
    /// The latest.
    #[serde(default)]
    pub progress: Option<Progress>,
    #[serde(default)]
    pub usage: Option<Usage>,
    /// The last few messages, each once, in order.
    #[serde(default)]
    pub messages: Vec<String>,
    /// Messages ever, those that are forgotten included.
    #[serde(default)]
    pub messages_said: u64,
    /// Reports ever.
    #[serde(default)]
    pub reports: u64,
}

impl TaskWords {
    fn add(&mut self, report: TaskReport) {
        self.reports += 1;
        self.usage = report.usage.or(self.usage);
        let Some(progress) = report.progress else {
            return;
        };
        let before = self.progress.as_ref().and_then(|it| it.message.as_ref());
        if let Some(message) = progress.message.as_ref().filter(|it| Some(*it) != before) {
            self.messages.push(message.clone());
            self.messages_said += 1;
            if self.messages.len() > MESSAGES_MAX {
                self.messages.remove(0);
            }
        }
        self.progress = Some(progress);
    }

    /// The messages after the first `seen`, as far as they are still known.
    pub fn messages_after(&self, seen: u64) -> &[String] {
        let new = usize::try_from(self.messages_said.saturating_sub(seen)).unwrap_or(usize::MAX);
        &self.messages[self.messages.len().saturating_sub(new)..]
    }
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

impl TaskStage {
    /// Its name in a row.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Leased(_) => "leased",
            Self::Done(_) => "done",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// The latest lease's id, where it matters.
    pub const fn lease(&self) -> Option<TaskLeaseId> {
        match self {
            Self::Leased(lease) => Some(lease.id),
            Self::Done(id) => Some(*id),
            Self::Offered | Self::Cancelled | Self::Lost => None,
        }
    }

    pub const fn leased_until(&self) -> Option<Timestamp> {
        match self {
            Self::Leased(lease) => Some(lease.until),
            Self::Offered | Self::Done(_) | Self::Cancelled | Self::Lost => None,
        }
    }

    /// Of a stored row; `None` when it makes no sense.
    pub fn from_row(
        name: &str,
        lease: Option<TaskLeaseId>,
        until: Option<Timestamp>,
    ) -> Option<Self> {
        Some(match name {
            "offered" => Self::Offered,
            "leased" => Self::Leased(TaskLease {
                id: lease?,
                until: until?,
            }),
            "done" => Self::Done(lease?),
            "cancelled" => Self::Cancelled,
            "lost" => Self::Lost,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn lease(n: u128) -> TaskLeaseId {
        TaskLeaseId::from_uuid(Uuid::from_u128(n))
    }

    fn offered() -> PulledTask {
        PulledTask {
            key: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
            tenant: TenantId::from_uuid(Uuid::nil()),
            agent: AgentId::from_uuid(Uuid::nil()),
            fence: 1,
            attempt: 1,
            stage: TaskStage::Offered,
            words: TaskWords::default(),
            offered_at: NOW,
        }
    }

    fn leased() -> PulledTask {
        offered().leased(lease(1), NOW).unwrap().0
    }

    fn says(message: &str) -> TaskReport {
        TaskReport {
            progress: Some(Progress {
                message: Some(message.to_owned()),
                ..Progress::default()
            }),
            usage: None,
        }
    }

    #[test]
    fn a_task_is_named_by_its_session_and_its_round() {
        let job = "00000000-0000-0000-0000-000000000001";
        for text in [job.to_owned(), format!("{job}-3")] {
            assert_eq!(text.parse::<TaskKey>().unwrap().to_string(), text);
        }
        for text in ["", "x", "-1", &format!("{job}-x"), &format!("{job}-1-2")] {
            assert!(text.parse::<TaskKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_report_renews_and_one_that_comes_too_late_is_refused() {
        let just = NOW + TASK_LEASE - Duration::from_secs(1);
        let (task, renewed) = leased().reported(lease(1), says("a"), true, just).unwrap();
        assert_eq!(renewed.until, just + TASK_LEASE);
        let late = renewed.until;
        let refused = task.clone().reported(lease(1), says("b"), true, late);
        assert_eq!(refused.unwrap_err(), TaskRefusal::LeaseLost);
        let refused = task.clone().done(lease(1), true, late);
        assert_eq!(refused.unwrap_err(), TaskRefusal::LeaseLost);
        let other = task.reported(lease(2), says("b"), true, just);
        assert_eq!(other.unwrap_err(), TaskRefusal::LeaseLost);
    }

    #[test]
    fn what_nobody_wants_is_said() {
        let refused = leased().reported(lease(1), says("a"), false, NOW);
        assert_eq!(refused.unwrap_err(), TaskRefusal::Cancelled);
        let withdrawn = leased().withdrawn(Withdrawal::Cancelled).unwrap();
        let refused = withdrawn.done(lease(1), true, NOW);
        assert_eq!(refused.unwrap_err(), TaskRefusal::Cancelled);
        let lost = leased().withdrawn(Withdrawal::Lost).unwrap();
        assert_eq!(
            lost.done(lease(1), true, NOW).unwrap_err(),
            TaskRefusal::LeaseLost
        );
    }

    #[test]
    fn a_result_may_come_twice_and_is_not_taken_back() {
        let done = leased().done(lease(1), true, NOW).unwrap().unwrap();
        let late = NOW + TASK_LEASE * 2;
        assert_eq!(done.clone().done(lease(1), false, late), Ok(None));
        assert_eq!(
            done.clone().done(lease(2), true, NOW),
            Err(TaskRefusal::LeaseLost)
        );
        assert_eq!(done.withdrawn(Withdrawal::Cancelled), None);
    }

    #[test]
    fn a_further_run_joins_what_its_agent_works_on() {
        let (joined, joins) = leased().wanted_again(2, 2, true, NOW);
        assert!(joins && joined.stage == leased().stage && joined.fence == 2);
        let done = leased().done(lease(1), true, NOW).unwrap().unwrap();
        assert!(done.clone().wanted_again(2, 2, true, NOW).1);
        for (task, unbroken, now) in [
            (offered(), true, NOW),
            (leased(), true, NOW + TASK_LEASE),
            (leased(), false, NOW),
            (done, false, NOW),
        ] {
            let (anew, joins) = task.wanted_again(2, 2, unbroken, now);
            assert!(!joins && anew.stage == TaskStage::Offered && anew.fence == 2);
        }
    }

    #[test]
    fn messages_are_told_once_and_the_oldest_are_forgotten() {
        let mut words = TaskWords::default();
        for message in ["a", "a", "b"] {
            words.add(says(message));
        }
        words.add(TaskReport::default());
        assert_eq!(words.messages_after(0), ["a", "b"]);
        assert_eq!(words.messages_after(1), ["b"]);
        assert!(words.messages_after(2).is_empty());
        for n in 0..MESSAGES_MAX {
            words.add(says(&n.to_string()));
        }
        assert_eq!(words.messages_after(0).len(), MESSAGES_MAX);
        assert_eq!(words.messages_after(0)[0], "0");
    }
}
