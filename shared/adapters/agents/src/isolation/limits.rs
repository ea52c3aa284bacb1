//! What a session may use, and what it says when it used more.

use std::fmt;

use application::ports::HandlerError;

use crate::failure::fail;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// Processes and threads at once.
    pub processes: Option<u64>,
    /// Processor time in percent of one processor: 150 is one and a half.
    pub cpu_percent: Option<u64>,
    /// Worktree, home and temporary files together.
    pub disk_bytes: Option<u64>,
}

impl Default for Limits {
    /// Room for a build of a large project, and an end for what runs away. Processor time is shared out by the
    /// system anyway.
    fn default() -> Self {
        Self {
            memory_bytes: Some(4 * GIB),
            processes: Some(1024),
            cpu_percent: None,
            disk_bytes: Some(10 * GIB),
        }
    }
}

/// A limit that a run has gone beyond; it was ended for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitHit {
    Memory { limit: u64 },
    Processes { limit: u64 },
    Disk { used: u64, limit: u64 },
    Files { limit: u64 },
}

impl LimitHit {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "MEMORY_LIMIT",
            Self::Processes { .. } => "PIDS_LIMIT",
            Self::Disk { .. } | Self::Files { .. } => "DISK_LIMIT",
        }
    }

    /// Another run would do the same, so it is final. `words`: what the run said last.
    pub(crate) fn error(&self, words: &str) -> HandlerError {
        let said = if words.is_empty() {
            String::new()
        } else {
            format!("; its last words on stderr:\n{words}")
        };
        fail(self.code(), format!("{self}{said}"))
    }
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { limit } => write!(
                f,
                "the session used more memory than the {} that this worker gives a session (memory_limit_bytes), and was ended",
                size(*limit)
            ),
            Self::Processes { limit } => write!(
                f,
                "the session started more processes and threads than the {limit} that this worker gives a session (pids_limit), and was ended"
            ),
            Self::Disk { used, limit } => write!(
                f,
                "the session's worktree, home and temporary files hold {}, more than the {} that this worker gives a session (disk_limit_bytes), and it was ended",
                size(*used),
                size(*limit)
            ),
            Self::Files { limit } => write!(
                f,
                "the session made more than {limit} files, which no session may, and was ended"
            ),
        }
    }
}

/// Exact, and for people where it is large.
pub(super) fn size(bytes: u64) -> String {
    if bytes < MIB {
        return format!("{bytes} bytes");
    }
    format!("{bytes} bytes ({} MiB)", bytes / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_size_limit_and_setting() {
        let hit = LimitHit::Disk {
            used: 3 * MIB,
            limit: 2 * MIB,
        };
        let HandlerError::Fail(error) = hit.error("no room") else {
            panic!("it is final");
        };
        assert_eq!(error.code, "DISK_LIMIT");
        for word in ["3145728", "2 MiB", "disk_limit_bytes", "no room"] {
            assert!(error.message.contains(word), "{word}: {}", error.message);
        }
    }
}
