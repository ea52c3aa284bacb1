use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::{change, find_own};
use crate::auth::Allowed;
use crate::auth::permit::ManageAgents;
use crate::body::Body;
use crate::dto::agent::{AgentChangeBody, RegisteredAgentBody};
use crate::if_match;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Bodied, Guarded, OfAgent, Versioned};
use crate::state::App;

/// Change an agent
///
/// What is left out stays as it is. What it works on goes on as it began. Send the `ETag` that you read as `If-Match`, so
/// that two editors do not undo each other.
#[utoipa::path(
    patch,
    path = "/{id}",
    tag = "Agents",
    params(
        ("id" = String, Path, description = "The agent's id or name."),
        ("If-Match" = Option<String>, Header, description = "Change it only if its ETag is one of these."),
    ),
    request_body = AgentChangeBody,
    responses(
        (status = 200, description = "The agent, changed.", body = RegisteredAgentBody,
         headers(("ETag" = String, description = "Its new version."))),
        Guarded, Bodied, OfAgent, Versioned,
    ),
)]
pub(super) async fn change_agent(
    State(app): State<App>,
    allowed: Allowed<ManageAgents>,
    TextPath(named): TextPath,
    headers: HeaderMap,
    Body(body): Body<AgentChangeBody>,
) -> Result<Response, Problem> {
    let found = find_own(&app, &allowed, &named).await?;
    let expected = if_match::expected_version(&headers, found.agent.version, "agent")?;
    change(&app, found, body.into_change()?, expected).await
}
