//! The checkpoints of a job, and going back to an earlier one.

use application::ports::Restored;
use application::use_cases::restore_checkpoint;
use axum::Json;
use axum::extract::State;

use super::OfKind;
use super::job_for::JobFor;
use super::steer::offered;
use crate::auth::Allowed;
use crate::auth::permit::{ReadJobs, SteerJobs};
use crate::dto::checkpoint::{CheckpointBody, CheckpointList, RestoredBody};
use crate::path::CheckpointPath;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::responses::{Guarded, OfJob};
use crate::state::App;

/// List a job's checkpoints
#[utoipa::path(
    get,
    path = "/{id}/checkpoints",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses((status = 200, description = "Those that are kept.", body = CheckpointList), Guarded, OfJob),
)]
pub(super) async fn checkpoints(job: JobFor<ReadJobs>) -> Result<Json<CheckpointList>, Problem> {
    job.find().await?;
    let jobs = &job.app.ports.jobs;
    let found = jobs.checkpoints(job.tenant, job.id).await?;
    let found = found.ok_or_else(|| job.not_found())?;
    Ok(Json(CheckpointList {
        items: found.into_iter().map(CheckpointBody::from).collect(),
    }))
}

/// Restore a checkpoint
///
/// The next run starts from it: it is added once more, as the newest one. Refused while the job runs. It starts no run
/// by itself.
#[utoipa::path(
    post,
    path = "/{id}/checkpoints/{number}/restore",
    params(
        ("id" = Uuid, Path, description = "The job's id."),
        ("number" = u32, Path, description = "The checkpoint's number."),
    ),
    responses(
        (status = 200, description = "The new checkpoint.", body = RestoredBody),
        (status = 404, description = "`CHECKPOINT_NOT_FOUND`, or the job is not found.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        (status = 409, description = "`INVALID_TRANSITION`: it runs; `state` and `allowed` say more.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded,
    ),
)]
pub(super) async fn restore(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<SteerJobs>,
    CheckpointPath(id, number): CheckpointPath,
) -> Result<Json<RestoredBody>, Problem> {
    let tenant = caller.tenant;
    of_kind.find(&app, tenant, id).await?;
    match restore_checkpoint(&app.ports, tenant, id, number).await? {
        Restored::Done(checkpoint) => Ok(Json(checkpoint.into())),
        Restored::NoJob => Err(of_kind.not_found(id)),
        Restored::NoCheckpoint => {
            let detail = format!(
                "The job {id} has no checkpoint {number}. The last 100 are kept; `GET ../checkpoints` lists them."
            );
            Err(Problem::new(&kinds::CHECKPOINT_NOT_FOUND, detail))
        }
        Restored::Running(state) => {
            let allowed = offered(state);
            let names: Vec<&str> = allowed.iter().map(|action| action.as_str()).collect();
            let detail = format!(
                "The job is {state}, and its run has its own checkpoints; pause or stop it first."
            );
            Err(Problem::new(&kinds::INVALID_TRANSITION, detail)
                .with("state", state.as_str())
                .with("action", "restore")
                .with("allowed", names))
        }
    }
}
