//! One file a kind of job. A new kind is a variant of `JobSpec`, and the match below says what is missing.

mod keep;
mod session;
mod training;

use std::sync::Arc;
use std::time::Duration;

use application::ports::{HandlerError, Interruption, StoreError};
use domain::{Job, JobResult, JobSpec};
use serde_json::Value;

use crate::context::JobContext;
use crate::life::Worker;

/// Between tries to read a checkpoint while the store cannot be reached.
const CHECKPOINT_RETRY: Duration = Duration::from_millis(500);

/// What came of a run: its outcome, and what it made even when it was stopped.
pub(crate) struct Handled {
    pub outcome: Result<(), HandlerError>,
    pub result: Option<JobResult>,
    /// The outcome is the agent's doing, and not that of what was around it.
    pub by_agent: bool,
}

impl Handled {
    pub fn failed(error: HandlerError) -> Self {
        Self {
            outcome: Err(error),
            result: None,
            by_agent: false,
        }
    }

    pub fn interrupted(why: Interruption) -> Self {
        Self::failed(HandlerError::Interrupted(why))
    }
}

pub(crate) async fn handle(worker: Arc<Worker>, job: Job, context: Arc<JobContext>) -> Handled {
    let handled = match &job.spec {
        JobSpec::Session(spec) => session::run(&worker, &job, spec, context).await,
        JobSpec::Training(spec) => training::run(&worker, &job, spec, context).await,
    };
    handled.unwrap_or_else(Handled::failed)
}

/// What the run before left to go on from; a first run has nothing.
async fn checkpoint(worker: &Worker, job: &Job) -> Result<Option<Value>, HandlerError> {
    if job.attempt <= 1 {
        return Ok(None);
    }
    loop {
        let latest = worker.ports.jobs.latest_checkpoint(job.tenant, job.id);
        match latest.await {
            Ok(found) => return Ok(found.map(|checkpoint| checkpoint.data)),
            // Not the job's fault, so it costs none of its attempts. The run is dropped when the lease ends.
            Err(StoreError::Unavailable(error)) => {
                tracing::warn!(error, job = %job.id, "the last checkpoint could not be read; trying again");
                tokio::time::sleep(CHECKPOINT_RETRY).await;
            }
            Err(error) => {
                let message = format!("the last checkpoint could not be read: {error}");
                let error = domain::JobError::new("CHECKPOINT_NOT_READ", message);
                return Err(HandlerError::Retry(error));
            }
        }
    }
}
