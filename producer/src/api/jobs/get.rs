use axum::Json;

use super::job_for::JobFor;
use crate::auth::permit::ReadJobs;
use crate::dto::job::JobBody;
use crate::problem::Problem;
use crate::responses::{Guarded, OfJob};

/// Get a job
#[utoipa::path(
    get,
    path = "/{id}",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses((status = 200, description = "The job.", body = JobBody), Guarded, OfJob),
)]
pub(super) async fn get(job: JobFor<ReadJobs>) -> Result<Json<JobBody>, Problem> {
    Ok(Json(job.find().await?.into()))
}
