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

/// Resume a tenant
///
/// Ends pauses and drains of all its queues.
#[utoipa::path(
    post,
    path = "/{id}/resume",
    tag = "Tenants",
    params(("id" = String, Path, description = "The tenant's id or slug.")),
    responses((status = 200, description = "Its queues, as they are now.", body = QueuePage), Guarded, OfTenant),
)]
pub(super) async fn resume_tenant(
    State(app): State<App>,
    allowed: Allowed<SteerQueues>,
    TextPath(named): TextPath,
) -> Result<Json<QueuePage>, Problem> {
    let tenant = visible(&app, &allowed, &named).await?;
    steer(&app, tenant.id, None, QueueAction::Resume).await
}
