use axum::Json;

use super::job_for::JobFor;
use crate::auth::permit::ReadJobs;
use crate::dto::artifact::{ArtifactBody, ArtifactList};
use crate::problem::Problem;
use crate::responses::{Guarded, OfJob};

/// List a job's artifacts
#[utoipa::path(
    get,
    path = "/{id}/artifacts",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses((status = 200, description = "The files kept from its runs.", body = ArtifactList), Guarded, OfJob),
)]
pub(super) async fn artifacts(job: JobFor<ReadJobs>) -> Result<Json<ArtifactList>, Problem> {
    job.find().await?;
    let jobs = &job.app.ports.jobs;
    let artifacts = jobs.artifacts(job.tenant, job.id).await?;
    let artifacts = artifacts.ok_or_else(|| job.not_found())?;
    Ok(Json(ArtifactList {
        items: artifacts.into_iter().map(ArtifactBody::from).collect(),
    }))
}
