use application::use_cases;
use axum::extract::State;
use axum::http::StatusCode;

use super::Token;
use crate::body::Body;
use crate::dto::agent_task::TaskResultBody;
use crate::path::TaskPath;
use crate::problem::Problem;
use crate::responses::{Bodied, OfTask, WithToken};
use crate::state::App;

/// Hand over a task's result
///
/// Ends the task, for good or bad. The same result may be sent again, for an answer that got lost. At most 4 MiB.
#[utoipa::path(
    post,
    path = "/external/{id}/tasks/{task}/result",
    tag = "Agents",
    security(("agent" = [])),
    params(
        ("id" = String, Path, description = "The agent's id."),
        ("task" = String, Path, description = "The task's `task_id`."),
        ("X-Agent-Token" = String, Header, description = "The agent's token."),
    ),
    request_body = TaskResultBody,
    responses(
        (status = 204, description = "It is kept, or was before."),
        Bodied, OfTask, WithToken,
    ),
)]
pub(in crate::api::agents) async fn end_agent_task(
    State(app): State<App>,
    Token(token): Token,
    TaskPath(agent, key): TaskPath,
    Body(body): Body<TaskResultBody>,
) -> Result<StatusCode, Problem> {
    let (lease, result) = body.into_result(key, &token)?;
    use_cases::end_task(&app.ports, (agent, &token), key, lease, result).await?;
    Ok(StatusCode::NO_CONTENT)
}
