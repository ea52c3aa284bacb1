//! Exit codes: what a script may rely on. Nothing else in this program chooses a number.

use std::process::ExitCode;

use domain::JobState;

use crate::client::ClientError;
use crate::config::ConfigError;
use crate::output::StdoutClosed;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok,
    /// The job failed, or the program did.
    Failed,
    /// The command line, the configuration or the request makes no sense.
    Usage,
    /// No key, a wrong key, or a key that may not do this.
    Auth,
    NotFound,
    /// A quota, a backlog or a rate is used up.
    Quota,
    /// The job outlived its deadline, or waiting for it took too long.
    Timeout,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Auth => 3,
            Self::NotFound => 4,
            Self::Quota => 5,
            Self::Timeout => 6,
        }
    }

    /// What a job's end means to whoever waited for it.
    pub const fn of_job(state: JobState) -> Self {
        match state {
            JobState::Completed | JobState::PartiallyCompleted => Self::Ok,
            JobState::Timeout => Self::Timeout,
            _ => Self::Failed,
        }
    }

    /// What an error means. A reader that closed our standard output had enough: that is no error.
    pub fn of_error(error: &anyhow::Error) -> Self {
        if error.is::<StdoutClosed>() {
            return Self::Ok;
        }
        if error.is::<ConfigError>() || error.is::<UsageError>() {
            return Self::Usage;
        }
        if error.is::<NotFound>() {
            return Self::NotFound;
        }
        if error.is::<WaitedTooLong>() {
            return Self::Timeout;
        }
        error
            .downcast_ref::<ClientError>()
            .map_or(Self::Failed, ClientError::exit)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What was asked for makes no sense; the text says what would.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// What was named is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotFound(pub String);

/// `--timeout` went by before the job ended. The job itself goes on.
#[derive(Debug, thiserror::Error)]
#[error("{what} had not ended after {seconds} s; it goes on, only the waiting has ended")]
pub struct WaitedTooLong {
    pub what: String,
    pub seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_the_documented_ones() {
        let all = [
            (Exit::Ok, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Auth, 3),
            (Exit::NotFound, 4),
            (Exit::Quota, 5),
            (Exit::Timeout, 6),
        ];
        for (exit, code) in all {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn a_closed_standard_output_is_no_failure() {
        let error = anyhow::Error::from(StdoutClosed);
        assert_eq!(Exit::of_error(&error), Exit::Ok);
    }

    #[test]
    fn only_a_finished_job_that_did_its_work_is_a_success() {
        for state in JobState::ALL {
            let good = matches!(state, JobState::Completed | JobState::PartiallyCompleted);
            assert_eq!(Exit::of_job(state) == Exit::Ok, good, "{state}");
        }
    }
}
