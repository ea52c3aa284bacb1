//! Start, cancel, stop, pause, resume, retry: one decision of the domain behind six addresses.

use application::ports::SteerError;
use application::use_cases::steer_job;
use axum::Json;
use domain::{Action, InvalidTransition, JobState};

use super::job_for::JobFor;
use crate::auth::permit::SteerJobs;
use crate::dto::job::JobBody;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::responses::{Guarded, OfJob, Submitting};

/// What these routes offer.
const OFFERED: [Action; 6] = [
    Action::Start,
    Action::Cancel,
    Action::Stop,
    Action::Pause,
    Action::Resume,
    Action::Retry,
];

/// Start a job
///
/// Puts a `pending` job into its tenant's queue.
#[utoipa::path(
    post,
    path = "/{id}/start",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job, queued.", body = JobBody),
        (status = 409, description = "`INVALID_TRANSITION`: it is not pending; `state` and `allowed` say more.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, OfJob, Submitting,
    ),
)]
pub(super) async fn start(job: JobFor<SteerJobs>) -> Result<Json<JobBody>, Problem> {
    steer(&job, Action::Start).await
}

/// Cancel a job
///
/// Takes a job that has not begun out of its queue. One that runs is stopped instead.
#[utoipa::path(
    post,
    path = "/{id}/cancel",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job, cancelled.", body = JobBody),
        (status = 409, description = "`INVALID_TRANSITION`: it runs or is over; `state` and `allowed` say more.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, OfJob,
    ),
)]
pub(super) async fn cancel(job: JobFor<SteerJobs>) -> Result<Json<JobBody>, Problem> {
    steer(&job, Action::Cancel).await
}

/// Stop a job
///
/// Asks the worker of a running job to end it: the answer says `stop_requested`, and the job is `stopped` a moment
/// later. Asking twice changes nothing.
#[utoipa::path(
    post,
    path = "/{id}/stop",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job, asked to stop.", body = JobBody),
        (status = 409, description = "`INVALID_TRANSITION`: it does not run; `state` and `allowed` say more.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, OfJob,
    ),
)]
pub(super) async fn stop(job: JobFor<SteerJobs>) -> Result<Json<JobBody>, Problem> {
    steer(&job, Action::Stop).await
}

/// Pause a job
///
/// Asks the worker of a running job to end its run so that another one can go on: the answer says `pause_requested`, and
/// the job is `paused` a moment later, holds no slot, and waits to be resumed. Its latest checkpoint is kept, and so are
/// the uncommitted changes of a session with a repository. Asking twice changes nothing.
#[utoipa::path(
    post,
    path = "/{id}/pause",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job, asked to pause.", body = JobBody),
        (status = 409, description = "`INVALID_TRANSITION`: it does not run; `state` and `allowed` say more.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, OfJob,
    ),
)]
pub(super) async fn pause(job: JobFor<SteerJobs>) -> Result<Json<JobBody>, Problem> {
    steer(&job, Action::Pause).await
}

/// Resume a job
///
/// Queues a paused job: its next run, on any worker, goes on from its checkpoint. A session whose budget was used up is
/// granted the same once more.
#[utoipa::path(
    post,
    path = "/{id}/resume",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job, queued again.", body = JobBody),
        (status = 409, description = "`INVALID_TRANSITION`: it is not paused; `state` and `allowed` say more.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, OfJob, Submitting,
    ),
)]
pub(super) async fn resume(job: JobFor<SteerJobs>) -> Result<Json<JobBody>, Problem> {
    steer(&job, Action::Resume).await
}

/// Retry a job
///
/// Queues a job that failed, timed out or was stopped once more, with all its attempts before it again.
#[utoipa::path(
    post,
    path = "/{id}/retry",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job, queued again.", body = JobBody),
        (status = 409, description = "`INVALID_TRANSITION`: it did not fail; `state` and `allowed` say more.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, OfJob, Submitting,
    ),
)]
pub(super) async fn retry(job: JobFor<SteerJobs>) -> Result<Json<JobBody>, Problem> {
    steer(&job, Action::Retry).await
}

async fn steer(job: &JobFor<SteerJobs>, action: Action) -> Result<Json<JobBody>, Problem> {
    // A job's kind never changes, so looking at it first is no race.
    job.find().await?;
    let steered = steer_job(&job.app.ports, job.tenant, job.id, action).await?;
    let steered = steered.ok_or_else(|| job.not_found())?;
    Ok(Json(steered.into()))
}

impl From<SteerError> for Problem {
    fn from(error: SteerError) -> Self {
        match error {
            SteerError::Invalid(invalid) => invalid.into(),
            SteerError::Refused(refused) => refused.into(),
            SteerError::Store(error) => error.into(),
        }
    }
}

impl From<InvalidTransition> for Problem {
    fn from(invalid: InvalidTransition) -> Self {
        let allowed = offered(invalid.from);
        let names: Vec<&str> = allowed.iter().map(|action| action.as_str()).collect();
        let instead = if names.is_empty() {
            "nothing can be done with it any more".to_owned()
        } else {
            format!("it allows: {}", names.join(", "))
        };
        let detail = format!("The job is {}; {instead}.", invalid.from);
        Self::new(&kinds::INVALID_TRANSITION, detail)
            .with("state", invalid.from.as_str())
            .with("action", invalid.action.as_str())
            .with("allowed", names)
    }
}

/// What a client may do with a job in this state.
pub(crate) fn offered(state: JobState) -> Vec<Action> {
    let mut allowed = state.allowed();
    allowed.retain(|action| OFFERED.contains(action));
    allowed
}
