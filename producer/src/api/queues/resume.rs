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

/// Resume a queue
///
/// Ends a pause and a drain: the queue takes jobs and starts them.
#[utoipa::path(
    post,
    path = "/{kind}/resume",
    tag = "Queues",
    params(("kind" = String, Path, description = "`session` or `training`.")),
    responses((status = 200, description = "The queue, as it is now.", body = QueuePage), Guarded, OfQueue),
)]
pub(super) async fn resume_queue(
    State(app): State<App>,
    caller: Allowed<SteerQueues>,
    KindPath(kind): KindPath,
) -> Result<Json<QueuePage>, Problem> {
    steer(&app, caller.tenant, Some(kind), QueueAction::Resume).await
}
