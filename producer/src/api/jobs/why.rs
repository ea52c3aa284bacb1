use application::use_cases;
use axum::Json;

use super::job_for::JobFor;
use crate::auth::permit::ReadJobs;
use crate::dto::why::WhyBody;
use crate::problem::Problem;
use crate::responses::{Guarded, OfJob};

/// Ask why a job waits
///
/// Its place in its queue, everything that keeps it from running (a quota, a pause, a prerequisite, a label that no
/// worker has, a broker that is away), who holds the slots, and a guess when it begins. Of a run that waits for a
/// branch: how many come first.
#[utoipa::path(
    get,
    path = "/{id}/why",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses((status = 200, description = "What keeps it.", body = WhyBody), Guarded, OfJob),
)]
pub(super) async fn why(job: JobFor<ReadJobs>) -> Result<Json<WhyBody>, Problem> {
    job.find().await?;
    let why = use_cases::why(&job.app.ports, job.tenant, job.id).await?;
    let why = why.ok_or_else(|| job.not_found())?;
    Ok(Json(why.into()))
}
