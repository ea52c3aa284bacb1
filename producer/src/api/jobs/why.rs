use application::use_cases;
use axum::Json;
use axum::extract::State;

use super::OfKind;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::dto::why::WhyBody;
use crate::path::JobPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfJob};
use crate::state::App;

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
pub(super) async fn why(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<ReadJobs>,
    JobPath(id): JobPath,
) -> Result<Json<WhyBody>, Problem> {
    of_kind.find(&app, caller.tenant, id).await?;
    let why = use_cases::why(&app.ports, caller.tenant, id).await?;
    let why = why.ok_or_else(|| of_kind.not_found(id))?;
    Ok(Json(why.into()))
}
