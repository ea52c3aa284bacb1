//! One file a kind of job. A new kind is a variant of `JobSpec`, and the match below says what is missing.

mod keep;
mod session;
mod training;

use std::sync::Arc;

use application::ports::{HandlerError, Interruption};
use domain::{Job, JobError, JobResult, JobSpec};
use serde_json::Value;

use crate::context::JobContext;
use crate::life::Worker;
use crate::patient;

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
    let (jobs, tenant, id) = (&worker.ports.jobs, job.tenant, job.id);
    let latest = patient::read("the last checkpoint", || jobs.latest_checkpoint(tenant, id));
    let found = latest.await.map_err(|error| {
        let message = format!("the last checkpoint could not be read: {error}");
        HandlerError::Retry(JobError::new("CHECKPOINT_NOT_READ", message))
    })?;
    Ok(found.map(|checkpoint| checkpoint.data))
}
