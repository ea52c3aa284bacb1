use axum::Json;
use axum::extract::State;

use super::no_such_replay;
use crate::auth::Allowed;
use crate::auth::permit::SteerJobs;
use crate::dto::dead_letter::ReplayBody;
use crate::path::ReplayPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfReplay};
use crate::state::App;

/// Abort a replay
///
/// No more jobs are queued by it; those that were stay queued. One that is over stays as it is.
#[utoipa::path(
    post,
    path = "/replays/{id}/abort",
    tag = "Dead letters",
    params(("id" = Uuid, Path, description = "The replay's id.")),
    responses((status = 200, description = "The replay.", body = ReplayBody), Guarded, OfReplay),
)]
pub(super) async fn abort_replay(
    State(app): State<App>,
    caller: Allowed<SteerJobs>,
    ReplayPath(id): ReplayPath,
) -> Result<Json<ReplayBody>, Problem> {
    let replay = app
        .ports
        .replays
        .abort_replay(caller.tenant, id, app.ports.clock.now())
        .await?;
    let replay = replay.ok_or_else(|| no_such_replay(id))?;
    Ok(Json(replay.into()))
}
