use application::use_cases;
use axum::extract::State;
use axum::http::StatusCode;

use super::Token;
use crate::body::Body;
use crate::dto::external_agent::NewHeartbeat;
use crate::path::AgentPath;
use crate::problem::Problem;
use crate::responses::{Bodied, OfAgent, WithToken};
use crate::state::App;

/// Say how an external agent is
///
/// With the token that it got when it registered. Seen by routing at once, on every server.
#[utoipa::path(
    post,
    path = "/external/{id}/heartbeat",
    tag = "Agents",
    security(("agent" = [])),
    params(
        ("id" = String, Path, description = "The agent's id."),
        ("X-Agent-Token" = String, Header, description = "The agent's token."),
    ),
    request_body = NewHeartbeat,
    responses(
        (status = 204, description = "It is kept."),
        Bodied, OfAgent, WithToken,
    ),
)]
pub(in crate::api::agents) async fn agent_heartbeat(
    State(app): State<App>,
    Token(token): Token,
    AgentPath(agent): AgentPath,
    Body(body): Body<NewHeartbeat>,
) -> Result<StatusCode, Problem> {
    let status = body.status()?;
    let said = (body.tasks_in_progress, body.metrics);
    use_cases::agent_heartbeat(&app.ports, agent, &token, status, body.current_load, said).await?;
    Ok(StatusCode::NO_CONTENT)
}
