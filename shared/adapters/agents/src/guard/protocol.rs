//! What worker and guard say to each other over their socket: one line each, orders one way and reports the other.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::behind::LeftBehind;

pub(super) const STAGE_ENTER: &str = "enter";
pub(super) const STAGE_SUPERVISE: &str = "supervise";
pub(super) const STAGE_EXEC: &str = "exec";
/// Where a process finds its open descriptors by number.
pub(super) const OPEN_FILES: &str = "/proc/self/fd/";
/// Stands for a number that was not given.
pub(super) const NO_NUMBER: &str = "-";

/// Worker to guard. The end of the socket means [`Order::Kill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Nothing changes; but the worker was heard.
    GoOn,
    /// SIGTERM to the program's group.
    Terminate,
    /// SIGKILL to all that is left.
    Kill,
}

impl Order {
    pub(super) const fn line(self) -> &'static str {
        match self {
            Self::GoOn => "on\n",
            Self::Terminate => "term\n",
            Self::Kill => "kill\n",
        }
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        match line.trim_end() {
            "on" => Some(Self::GoOn),
            "term" => Some(Self::Terminate),
            "kill" => Some(Self::Kill),
            _ => None,
        }
    }
}

/// Guard to worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The program runs, as this process and group.
    Started { pid: i32 },
    /// The program could not be started, for this system error.
    Refused { errno: i32 },
    /// It ended, and so did all that it started; `left` processes could not be killed. `behind`: what still ran when it had
    /// ended by itself.
    Ended {
        exit: Exit,
        left: usize,
        behind: LeftBehind,
    },
    /// The worker was silent for too long, so all of it was killed, but for `left` processes that could not be.
    Unheard { left: usize },
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        status.code().map_or_else(
            || Self::Signal(status.signal().unwrap_or_default()),
            Self::Code,
        )
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal {}", signal.as_str()),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}
