//! What a run may say while it goes on, and how it learns that it must end.

use std::path::Path;

use async_trait::async_trait;
use domain::{JobError, LogStream, Progress};
use serde_json::Value;

/// Handed to agents and training providers. Everything said through it is fenced and bounded by the worker.
#[async_trait]
pub trait RunContext: Send + Sync {
    /// Adds to the job's log. Waits when the run writes faster than the store takes it; beyond the job's limit the
    /// text is dropped and one line says so.
    async fn log(&self, stream: LogStream, text: &str);

    /// Shows how far the run is; when called often, only the latest is kept.
    async fn progress(&self, progress: Progress);

    /// Keeps what the next run needs to go on from here.
    async fn checkpoint(&self, data: Value);

    /// Keeps a file. The name is unique within the run.
    async fn keep_file(
        &self,
        name: &str,
        media_type: &str,
        path: &Path,
    ) -> Result<(), HandlerError>;

    /// Keeps bytes as a file.
    async fn keep(&self, name: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), HandlerError>;

    /// Resolves when the run must end. The run then winds up within seconds; it is dropped after that.
    async fn interrupted(&self) -> Interruption;
}

/// Why a run must end before its work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// Somebody asked for it.
    Stop,
    /// It is to go on later: checkpoint, then go.
    Pause,
    /// Its wall-clock limit is over.
    Deadline,
    /// The worker leaves: checkpoint, then go.
    Drain,
    /// A lock under which it works is somebody else's now: end at once, what it made will not count.
    LockLost,
    /// The job is not ours any more: end at once, write nothing.
    LeaseLost,
}

/// Why a run did not complete; the variant is the decision.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// Trying again may help.
    #[error("{0}")]
    Retry(JobError),
    /// Trying again would not help.
    #[error("{0}")]
    Fail(JobError),
    /// The job itself lacks something: trying again would not help, nobody else would do better, and whoever did the work
    /// is not to blame.
    #[error("{0}")]
    Unfit(JobError),
    /// It used up its session's budget: it is paused until a person grants more, or stopped.
    #[error("{error}")]
    OverBudget { error: JobError, stop: bool },
    /// It gives way to another run that holds what it needs, and is tried again a little later. Not a failure.
    #[error("gives way: {0}")]
    Yield(String),
    /// This worker cannot do it, another one can: it is tried again after a longer while. Not a failure.
    #[error("not here: {0}")]
    Elsewhere(String),
    /// It ended because it was told to.
    #[error("interrupted: {0:?}")]
    Interrupted(Interruption),
}
