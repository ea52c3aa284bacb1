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

/// Resume an agent
///
/// Ends its draining.
#[utoipa::path(
    post,
    path = "/{id}/resume",
    tag = "Agents",
    params(("id" = String, Path, description = "The agent's id or name.")),
    responses(
        (status = 200, description = "The agent, active.", body = RegisteredAgentBody,
         headers(("ETag" = String, description = "Its new version."))),
        Guarded, OfAgent,
    ),
)]
pub(super) async fn resume_agent(
    State(app): State<App>,
    allowed: Allowed<ManageAgents>,
    TextPath(named): TextPath,
) -> Result<Response, Problem> {
    set_draining(&app, &allowed, &named, false).await
}
