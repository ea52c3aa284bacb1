//! What external agents say, by the External Agent Protocol.

pub(super) mod heartbeat;
pub(super) mod lease;
pub(super) mod register;
pub(super) mod report;
pub(super) mod result;
mod token;

use application::ports::TaskError;
use application::use_cases::{HeartbeatError, PullError};
use domain::TaskRefusal;
use token::Token;

use crate::api::agents::no_such_agent;
use crate::problem::Problem;
use crate::problem_kinds as kinds;

impl From<HeartbeatError> for Problem {
    fn from(error: HeartbeatError) -> Self {
        match error {
            HeartbeatError::Unknown => no_such_agent(),
            HeartbeatError::WrongToken => Self::unauthenticated(
                "The token is not this agent's. Register again under the same name to get a new one.",
            ),
            HeartbeatError::Invalid(violations) => violations.into(),
            HeartbeatError::Store(error) => error.into(),
        }
    }
}

impl From<PullError> for Problem {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Agent(error) => error.into(),
            PullError::Task(TaskError::Unknown) => Self::new(
                &kinds::TASK_NOT_FOUND,
                "The agent has no such task. It may be another agent's, or long over: drop it.",
            ),
            PullError::Task(TaskError::Refused(TaskRefusal::Cancelled)) => Self::new(
                &kinds::TASK_CANCELLED,
                "The session does not want the task any more. End the work.",
            ),
            PullError::Task(TaskError::Refused(TaskRefusal::LeaseLost)) => Self::new(
                &kinds::TASK_LEASE_LOST,
                "The lease has expired or is not this one any more, and the task may be somebody else's. End the work.",
            ),
            PullError::Task(TaskError::Store(error)) => error.into(),
        }
    }
}
