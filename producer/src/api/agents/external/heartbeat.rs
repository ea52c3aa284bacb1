use application::use_cases::{self, HeartbeatError};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use crate::api::agents::no_such_agent;
use crate::body::Body;
use crate::dto::external_agent::NewHeartbeat;
use crate::path::AgentPath;
use crate::problem::Problem;
use crate::responses::{Bodied, OfAgent};
use crate::state::App;

const TOKEN: &str = "x-agent-token";

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
        (status = 401, description = "`UNAUTHENTICATED`: no token, or not this agent's.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        (status = 500, description = "`INTERNAL_ERROR`: the server made a mistake.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        (status = 503, description = "`STORE_UNAVAILABLE`, `STORE_FULL`, `REQUEST_TIMEOUT`: try again later.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Bodied, OfAgent,
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

/// The token that the request presents; asked for before the body is read.
pub(in crate::api::agents) struct Token(String);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Token {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Problem> {
        presented(&parts.headers).map(Self).ok_or_else(|| {
            Problem::unauthenticated(
                "The request has no agent's token. Send the auth_token of the registration as `X-Agent-Token`.",
            )
        })
    }
}

fn presented(headers: &HeaderMap) -> Option<String> {
    headers.get(TOKEN)?.to_str().ok().map(str::to_owned)
}

impl From<HeartbeatError> for Problem {
    fn from(error: HeartbeatError) -> Self {
        match error {
            HeartbeatError::Unknown => no_such_agent(),
            HeartbeatError::WrongToken => Self::unauthenticated(
                "The token is not this agent's. Register again under the same name to get a new one.",
            ),
            HeartbeatError::Invalid(violations) => violations.into(),
            HeartbeatError::Store(error) => error.into(),
        }
    }
}
