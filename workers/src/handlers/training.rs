//! A training job: an empty folder and a provider in it. The provider keeps the model before it returns.

use std::sync::Arc;

use application::ports::{HandlerError, Interruption, TrainingTask};
use domain::{Job, JobError, JobResult, TrainingSpec};

use super::{Handled, checkpoint};
use crate::context::JobContext;
use crate::life::Worker;

pub(super) async fn run(
    worker: &Worker,
    job: &Job,
    spec: &TrainingSpec,
    context: Arc<JobContext>,
) -> Result<Handled, HandlerError> {
    let trainers = &worker.tools.trainers;
    let found = trainers
        .iter()
        .find(|trainer| trainer.kind() == spec.provider);
    let trainer = found.cloned().ok_or_else(|| {
        let message = "the worker that claimed this job has no trainer for its provider; configure one on the workers";
        HandlerError::Fail(JobError::new("TRAINER_UNAVAILABLE", message))
    })?;
    let checkpoint = checkpoint(worker, job).await?;
    let workspace = worker
        .tools
        .workspaces
        .open(job.id, job.attempt, None)
        .await?;
    let task = TrainingTask {
        tenant: job.tenant,
        job: job.id,
        attempt: job.attempt,
        spec: spec.clone(),
        directory: workspace.directory().to_owned(),
        checkpoint,
    };
    let reported = if worker.lease_end.is_over() {
        Err(HandlerError::Interrupted(Interruption::LeaseLost))
    } else {
        trainer.run(task, context).await
    };
    workspace.close().await;
    Ok(match reported {
        Ok(report) => Handled {
            outcome: Ok(()),
            by_agent: false,
            result: Some(JobResult::Training(report.result)),
        },
        Err(error) => Handled::failed(error),
    })
}
