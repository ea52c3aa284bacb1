//! By what an agent knows a task, in addresses and in what it is told.

use std::fmt;
use std::str::FromStr;

use crate::JobId;

/// Of an id written with its dashes, the only form that is handed out.
const UUID_CHARS: usize = 36;

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
