use axum::Json;
use axum::extract::State;

use crate::auth::Allowed;
use crate::auth::permit::ReadWorkers;
use crate::dto::worker::{WorkerBody, WorkerList};
use crate::problem::Problem;
use crate::responses::Guarded;
use crate::state::App;

/// List workers
#[utoipa::path(
    get,
    path = "/api/v1/workers",
    tag = "System",
    responses((status = 200, description = "The workers, with their leases and load.", body = WorkerList), Guarded),
)]
pub(super) async fn list_workers(
    State(app): State<App>,
    _allowed: Allowed<ReadWorkers>,
) -> Result<Json<WorkerList>, Problem> {
    let workers = app.ports.engine.workers().await?;
    let now = app.ports.clock.now();
    let items = workers
        .into_iter()
        .map(|worker| WorkerBody::new(worker, now));
    Ok(Json(WorkerList {
        items: items.collect(),
    }))
}
