//! What a run needs to go on where it was.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Timestamp;

/// Older ones of a job are dropped.
pub const CHECKPOINTS_KEPT: u32 = 100;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Rises by one with every checkpoint of the job.
    pub number: u32,
    pub attempt: u32,
    pub at: Timestamp,
    /// Opaque to us; handed back to the next run.
    pub data: Value,
}
