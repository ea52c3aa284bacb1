use application::use_cases;
use axum::Json;
use axum::extract::State;
use domain::Violations;

use crate::auth::Allowed;
use crate::auth::permit::ReadAgents;
use crate::body::Body;
use crate::dto::routing::{RouteBody, RoutingBody};
use crate::problem::Problem;
use crate::responses::{Bodied, Guarded};
use crate::state::App;

/// Ask where a task would go
///
/// Of the agents that have all that is asked for and could take a task now, the one with the highest score, the next three,
/// and why each of the others would not get it. Nothing is taken: by the time that a session is claimed it may be
/// otherwise.
#[utoipa::path(
    post,
    path = "/route",
    tag = "Agents",
    request_body = RouteBody,
    responses(
        (status = 200, description = "The choice, or why there is none.", body = RoutingBody),
        Guarded, Bodied,
    ),
)]
pub(super) async fn route_task(
    State(app): State<App>,
    allowed: Allowed<ReadAgents>,
    Body(body): Body<RouteBody>,
) -> Result<Json<RoutingBody>, Problem> {
    let mut violations = Violations::default();
    let request = body.into_request(&mut violations);
    request.check(&mut violations);
    let handed = [
        ("/files", !request.files.is_empty()),
        ("/task_type", request.task_type.is_some()),
        ("/input_data", !request.input_data.is_empty()),
    ];
    for (pointer, _) in handed.into_iter().filter(|(_, given)| *given) {
        violations.add(pointer, "is for sessions; nothing is handed over here");
    }
    violations.or(())?;
    let routing = use_cases::route_task(&app.ports, allowed.tenant, &request).await?;
    Ok(Json(routing.into()))
}
