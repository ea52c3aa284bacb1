//! A tenant's queues, one for each kind of jobs.

mod drain;
pub(crate) mod list;
mod pause;
mod resume;

use application::ports::QueueAction;
use application::use_cases::steer_queues;
use axum::Json;
use domain::{JobKind, TenantId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::no_such_tenant;
use crate::dto::queue::{QueueBody, QueuePage};
use crate::problem::Problem;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list_queues))
        .routes(routes!(pause::pause_queue))
        .routes(routes!(resume::resume_queue))
        .routes(routes!(drain::drain_queue))
}

/// Steers one queue of the tenant, or all, and shows them as they are then.
pub(crate) async fn steer(
    app: &App,
    tenant: TenantId,
    kind: Option<JobKind>,
    action: QueueAction,
) -> Result<Json<QueuePage>, Problem> {
    if !steer_queues(&app.ports, tenant, kind, action).await? {
        return Err(no_such_tenant(tenant));
    }
    let now = app.ports.clock.now();
    let views = app.ports.jobs.queues(tenant).await?.into_iter();
    let steered = views.filter(|view| kind.is_none_or(|kind| view.queue.kind == kind));
    Ok(Json(QueuePage {
        items: steered.map(|view| QueueBody::new(view, now)).collect(),
        next_cursor: None,
    }))
}
