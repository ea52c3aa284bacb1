use axum::Json;
use axum::extract::State;

use super::no_such_replay;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::dto::dead_letter::ReplayBody;
use crate::path::ReplayPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfReplay};
use crate::state::App;

/// Get a replay
///
/// How far it is.
#[utoipa::path(
    get,
    path = "/replays/{id}",
    tag = "Dead letters",
    params(("id" = Uuid, Path, description = "The replay's id.")),
    responses((status = 200, description = "The replay.", body = ReplayBody), Guarded, OfReplay),
)]
pub(super) async fn get_replay(
    State(app): State<App>,
    caller: Allowed<ReadJobs>,
    ReplayPath(id): ReplayPath,
) -> Result<Json<ReplayBody>, Problem> {
    let replay = app.ports.replays.replay(caller.tenant, id).await?;
    let replay = replay.ok_or_else(|| no_such_replay(id))?;
    Ok(Json(replay.into()))
}
