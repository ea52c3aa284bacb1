//! What a run printed, in chunks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    /// Where it stands in the job's log.
    pub cursor: LogCursor,
    pub at: Timestamp,
    pub stream: LogStream,
    /// Whole lines where the run wrote whole lines; secrets already taken out.
    pub text: String,
}

/// Order of chunks within one job: by run, then by number within the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogCursor {
    pub attempt: u32,
    /// 1 for the first chunk of a run.
    pub number: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    Stdout,
    Stderr,
    /// Said by the worker about the run.
    System,
}

impl LogStream {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::System => "system",
        }
    }
}

impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LogStream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Stdout, Self::Stderr, Self::System]
            .into_iter()
            .find(|stream| stream.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a log stream"))
    }
}
