use axum::extract::State;
use axum::response::Response;

use super::set_draining;
use crate::auth::Allowed;
use crate::auth::permit::ManageAgents;
use crate::dto::agent::RegisteredAgentBody;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfAgent};
use crate::state::App;

/// Drain an agent
///
/// It gets nothing new until it is resumed. What it works on goes on.
#[utoipa::path(
    post,
    path = "/{id}/drain",
    tag = "Agents",
    params(("id" = String, Path, description = "The agent's id or name.")),
    responses(
        (status = 200, description = "The agent, draining.", body = RegisteredAgentBody,
         headers(("ETag" = String, description = "Its new version."))),
        Guarded, OfAgent,
    ),
)]
pub(super) async fn drain_agent(
    State(app): State<App>,
    allowed: Allowed<ManageAgents>,
    TextPath(named): TextPath,
) -> Result<Response, Problem> {
    set_draining(&app, &allowed, &named, true).await
}
