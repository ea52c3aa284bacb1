use axum::extract::State;
use axum::http::StatusCode;

use super::{find_own, no_such_agent};
use crate::auth::Allowed;
use crate::auth::permit::ManageAgents;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfAgent};
use crate::state::App;

/// Remove an agent
///
/// It gets nothing more, and an external one's token is worth nothing. What it works on goes on to its end, but for a task
/// that it asked for itself, which is taken from it.
#[utoipa::path(
    delete,
    path = "/{id}",
    tag = "Agents",
    params(("id" = String, Path, description = "The agent's id or name.")),
    responses((status = 204, description = "The agent is gone."), Guarded, OfAgent),
)]
pub(super) async fn remove_agent(
    State(app): State<App>,
    allowed: Allowed<ManageAgents>,
    TextPath(named): TextPath,
) -> Result<StatusCode, Problem> {
    let agent = find_own(&app, &allowed, &named).await?.agent;
    if app
        .ports
        .agents
        .remove_agent(agent.tenant, agent.id)
        .await?
    {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_such_agent())
    }
}
