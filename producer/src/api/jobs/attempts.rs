use axum::Json;

use super::job_for::JobFor;
use crate::auth::permit::ReadJobs;
use crate::dto::attempt::{AttemptBody, AttemptList};
use crate::problem::Problem;
use crate::responses::{Guarded, OfJob};

/// List a job's runs
#[utoipa::path(
    get,
    path = "/{id}/attempts",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses((status = 200, description = "Its runs.", body = AttemptList), Guarded, OfJob),
)]
pub(super) async fn attempts(job: JobFor<ReadJobs>) -> Result<Json<AttemptList>, Problem> {
    job.find().await?;
    let jobs = &job.app.ports.jobs;
    let attempts = jobs.attempts(job.tenant, job.id).await?;
    let attempts = attempts.ok_or_else(|| job.not_found())?;
    Ok(Json(AttemptList {
        items: attempts.into_iter().map(AttemptBody::from).collect(),
    }))
}
