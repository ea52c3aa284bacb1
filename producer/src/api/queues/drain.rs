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

/// Drain a queue
///
/// The queue starts the jobs that it has and takes no new ones (`QUEUE_DRAINING`) until it is resumed. Retries of its own jobs still go in.
#[utoipa::path(
    post,
    path = "/{kind}/drain",
    tag = "Queues",
    params(("kind" = String, Path, description = "`session` or `training`.")),
    responses((status = 200, description = "The queue, as it is now.", body = QueuePage), Guarded, OfQueue),
)]
pub(super) async fn drain_queue(
    State(app): State<App>,
    caller: Allowed<SteerQueues>,
    KindPath(kind): KindPath,
) -> Result<Json<QueuePage>, Problem> {
    steer(&app, caller.tenant, Some(kind), QueueAction::Drain).await
}
