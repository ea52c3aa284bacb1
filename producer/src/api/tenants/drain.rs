use application::ports::QueueAction;
use axum::Json;
use axum::extract::State;

use super::get::visible;
use crate::api::queues::steer;
use crate::auth::Allowed;
use crate::auth::permit::SteerQueues;
use crate::dto::queue::QueuePage;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfTenant};
use crate::state::App;

/// Drain a tenant
///
/// All its queues start the jobs that they have and take no new ones (`QUEUE_DRAINING`) until they are resumed.
#[utoipa::path(
    post,
    path = "/{id}/drain",
    tag = "Tenants",
    params(("id" = String, Path, description = "The tenant's id or slug.")),
    responses((status = 200, description = "Its queues, as they are now.", body = QueuePage), Guarded, OfTenant),
)]
pub(super) async fn drain_tenant(
    State(app): State<App>,
    allowed: Allowed<SteerQueues>,
    TextPath(named): TextPath,
) -> Result<Json<QueuePage>, Problem> {
    let tenant = visible(&app, &allowed, &named).await?;
    steer(&app, tenant.id, None, QueueAction::Drain).await
}
