use axum::Json;
use axum::extract::State;

use super::OfKind;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::dto::attempt::{AttemptBody, AttemptList};
use crate::path::JobPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfJob};
use crate::state::App;

/// List a job's runs
#[utoipa::path(
    get,
    path = "/{id}/attempts",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses((status = 200, description = "Its runs.", body = AttemptList), Guarded, OfJob),
)]
pub(super) async fn attempts(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<ReadJobs>,
    JobPath(id): JobPath,
) -> Result<Json<AttemptList>, Problem> {
    let tenant = caller.tenant;
    of_kind.find(&app, tenant, id).await?;
    let attempts = app.ports.jobs.attempts(tenant, id).await?;
    let attempts = attempts.ok_or_else(|| of_kind.not_found(id))?;
    Ok(Json(AttemptList {
        items: attempts.into_iter().map(AttemptBody::from).collect(),
    }))
}
