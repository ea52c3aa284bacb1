use std::time::Duration;

use application::use_cases;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::value::RawValue;

use super::Token;
use crate::body::Body;
use crate::dto::agent_task::{LeasedTaskBody, TaskWish};
use crate::path::AgentPath;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::responses::{Bodied, OfAgent, WithToken};
use crate::state::App;

/// What an answer takes after the wait, so that no wait runs into the limit of requests.
const SPARE: Duration = Duration::from_secs(2);

/// Ask for a task
///
/// For agents without an `endpoint_url`. Waits up to `wait_seconds` for a session that the agent was chosen for; the answer
/// may come earlier without one. Whoever has a task reports within `renew_within` seconds, or loses it when its lease
/// expires.
#[utoipa::path(
    post,
    path = "/external/{id}/tasks/lease",
    tag = "Agents",
    security(("agent" = [])),
    params(
        ("id" = String, Path, description = "The agent's id."),
        ("X-Agent-Token" = String, Header, description = "The agent's token."),
    ),
    request_body = TaskWish,
    responses(
        (status = 200, description = "A task, which is the agent's as long as its lease.", body = LeasedTaskBody),
        (status = 204, description = "There is none. Ask again."),
        Bodied, OfAgent, WithToken,
    ),
)]
pub(in crate::api::agents) async fn lease_agent_task(
    State(app): State<App>,
    Token(token): Token,
    AgentPath(agent): AgentPath,
    Body(body): Body<TaskWish>,
) -> Result<Response, Problem> {
    body.check()?;
    // Whoever waits holds a place among the open streams; where there is none, nobody waits.
    let place = app.streams.try_acquire();
    let most = app.config.request_timeout.saturating_sub(SPARE);
    let wait = match &place {
        Ok(_) => Duration::from_secs(body.wait_seconds.into()).min(most),
        Err(_) => Duration::ZERO,
    };
    let draining = app.draining.cancelled();
    let leased = use_cases::lease_task(&app.ports, agent, &token, wait, draining).await?;
    let Some(leased) = leased else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let task = RawValue::from_string(leased.body).map_err(|error| {
        tracing::error!(%error, %agent, "a stored task is no JSON");
        let detail = "The task cannot be read. Tell the operator, with the request_id.";
        Problem::new(&kinds::INTERNAL_ERROR, detail)
    })?;
    let lease = leased.lease.into();
    Ok(Json(LeasedTaskBody { task, lease }).into_response())
}
