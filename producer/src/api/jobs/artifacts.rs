use axum::Json;
use axum::extract::State;

use super::OfKind;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::dto::artifact::{ArtifactBody, ArtifactList};
use crate::path::JobPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfJob};
use crate::state::App;

/// List a job's artifacts
#[utoipa::path(
    get,
    path = "/{id}/artifacts",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses((status = 200, description = "The files kept from its runs.", body = ArtifactList), Guarded, OfJob),
)]
pub(super) async fn artifacts(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<ReadJobs>,
    JobPath(id): JobPath,
) -> Result<Json<ArtifactList>, Problem> {
    let tenant = caller.tenant;
    of_kind.find(&app, tenant, id).await?;
    let artifacts = app.ports.jobs.artifacts(tenant, id).await?;
    let artifacts = artifacts.ok_or_else(|| of_kind.not_found(id))?;
    Ok(Json(ArtifactList {
        items: artifacts.into_iter().map(ArtifactBody::from).collect(),
    }))
}
