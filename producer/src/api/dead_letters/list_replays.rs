use axum::Json;
use axum::extract::State;

use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::dto::dead_letter::{ReplayBody, ReplayList};
use crate::problem::Problem;
use crate::responses::Guarded;
use crate::state::App;

const REPLAYS_MAX: u32 = 100;

/// List replays
///
/// The newest 100.
#[utoipa::path(
    get,
    path = "/replays",
    tag = "Dead letters",
    responses((status = 200, description = "The replays, newest first.", body = ReplayList), Guarded),
)]
pub(super) async fn list_replays(
    State(app): State<App>,
    caller: Allowed<ReadJobs>,
) -> Result<Json<ReplayList>, Problem> {
    let replays = app
        .ports
        .replays
        .replays(caller.tenant, REPLAYS_MAX)
        .await?;
    Ok(Json(ReplayList {
        items: replays.into_iter().map(ReplayBody::from).collect(),
    }))
}
