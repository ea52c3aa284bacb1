use application::ports::QueueAction;
use axum::Json;
use axum::extract::State;

use super::steer;
use crate::auth::Allowed;
use crate::auth::permit::SteerQueues;
use crate::dto::queue::QueuePage;
use crate::path::KindPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfQueue};
use crate::state::App;

/// Pause a queue
///
/// The queue goes on taking jobs and starts none of them until it is resumed. Running jobs go on.
#[utoipa::path(
    post,
    path = "/{kind}/pause",
    tag = "Queues",
    params(("kind" = String, Path, description = "`session` or `training`.")),
    responses((status = 200, description = "The queue, as it is now.", body = QueuePage), Guarded, OfQueue),
)]
pub(super) async fn pause_queue(
    State(app): State<App>,
    caller: Allowed<SteerQueues>,
    KindPath(kind): KindPath,
) -> Result<Json<QueuePage>, Problem> {
    steer(&app, caller.tenant, Some(kind), QueueAction::Pause).await
}
