//! Why a run failed, in words for the person who reads it.

use serde::{Deserialize, Serialize};

/// Stored with the job and shown as it is, so it never holds secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct JobError {
    /// Stable, for machines: `COMMAND_FAILED`, `REPOSITORY_MISSING`, `LEASE_LOST`, ...
    pub code: String,
    /// What happened, to what, and what to do.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

impl JobError {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            exit_code: None,
        }
    }

    #[must_use]
    pub fn with_exit_code(mut self, exit_code: i32) -> Self {
        self.exit_code = Some(exit_code);
        self
    }
}
