use axum::Json;
use axum::extract::State;

use super::OfKind;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::dto::job::JobBody;
use crate::path::JobPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfJob};
use crate::state::App;

/// Get a job
#[utoipa::path(
    get,
    path = "/{id}",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses((status = 200, description = "The job.", body = JobBody), Guarded, OfJob),
)]
pub(super) async fn get(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<ReadJobs>,
    JobPath(id): JobPath,
) -> Result<Json<JobBody>, Problem> {
    let tenant = caller.tenant;
    Ok(Json(of_kind.find(&app, tenant, id).await?.into()))
}
