//! What a run left behind.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Pushed, Verified};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobResult {
    Session(SessionResult),
    Training(TrainingResult),
}

impl JobResult {
    /// True when the work was done and found not to be what was asked for: its job fails, and keeps this.
    pub const fn is_rejected(&self) -> bool {
        matches!(self, Self::Session(session) if matches!(session.success, Some(false)))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionResult {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Absent when the session had no repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<DiffStat>,
    /// Absent when the agent used no model, or did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Whether the work is what was asked for. Absent when nothing was there to judge it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verified>,
    /// What the agent gave for the session's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Absent when nothing was to be pushed, or nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Pushed>,
}

/// What an agent used of its models, all runs of its conversation together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens that the models read, those from a cache included.
    pub input_tokens: u64,
    /// Tokens that the models wrote, those of their reasoning included.
    pub output_tokens: u64,
    /// By the prices in the worker's configuration, in their currency; 0 without prices.
    pub cost: f64,
}

/// How much the worktree differs from the revision it started from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffStat {
    pub files: Vec<String>,
    pub insertions: u64,
    pub deletions: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingResult {
    pub model_name: String,
    /// SHA-256 of the model file, as the trainer said and the worker verified.
    pub sha256: String,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_loss: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_loss: Option<f64>,
    pub steps: u64,
}
