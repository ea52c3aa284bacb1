use application::ports::CheckpointView;
use chrono::{DateTime, Utc};
use domain::Checkpoint;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What a run kept to go on from. What is in it is the agent's own matter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkpoint)]
pub(crate) struct CheckpointBody {
    /// Rises by one with every checkpoint of the job.
    pub number: u32,
    /// The run that kept it; 0 for one that was restored before any run.
    pub attempt: u32,
    pub at: DateTime<Utc>,
    /// Of its data, as JSON text.
    pub bytes: u64,
}

/// The checkpoints that a job still has, at most 100, the oldest first. The next run starts from the last one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointList {
    pub items: Vec<CheckpointBody>,
}

/// A checkpoint with its data.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RestoredCheckpoint)]
pub(crate) struct RestoredBody {
    /// A new one: the newest.
    pub number: u32,
    pub attempt: u32,
    pub at: DateTime<Utc>,
    pub data: Value,
}

impl From<CheckpointView> for CheckpointBody {
    fn from(checkpoint: CheckpointView) -> Self {
        Self {
            number: checkpoint.number,
            attempt: checkpoint.attempt,
            at: checkpoint.at,
            bytes: checkpoint.bytes,
        }
    }
}

impl From<Checkpoint> for RestoredBody {
    fn from(checkpoint: Checkpoint) -> Self {
        Self {
            number: checkpoint.number,
            attempt: checkpoint.attempt,
            at: checkpoint.at,
            data: checkpoint.data,
        }
    }
}
