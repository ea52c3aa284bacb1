use application::use_cases;
use axum::Json;
use axum::extract::State;

use super::Token;
use crate::body::Body;
use crate::dto::agent_task::{RenewedTask, TaskReportBody};
use crate::path::TaskPath;
use crate::problem::Problem;
use crate::responses::{Bodied, OfTask, WithToken};
use crate::state::App;

/// Say how far a task is
///
/// Renews the lease. What is said is seen by the session's owner, and counts against the session's budget.
#[utoipa::path(
    post,
    path = "/external/{id}/tasks/{task}/progress",
    tag = "Agents",
    security(("agent" = [])),
    params(
        ("id" = String, Path, description = "The agent's id."),
        ("task" = String, Path, description = "The task's `task_id`."),
        ("X-Agent-Token" = String, Header, description = "The agent's token."),
    ),
    request_body = TaskReportBody,
    responses(
        (status = 200, description = "The lease is renewed.", body = RenewedTask),
        Bodied, OfTask, WithToken,
    ),
)]
pub(in crate::api::agents) async fn report_agent_task(
    State(app): State<App>,
    Token(token): Token,
    TaskPath(agent, key): TaskPath,
    Body(body): Body<TaskReportBody>,
) -> Result<Json<RenewedTask>, Problem> {
    let (lease, report) = body.into_report(&token)?;
    let renewed = use_cases::report_task(&app.ports, (agent, &token), key, lease, report).await?;
    let lease = renewed.into();
    Ok(Json(RenewedTask { lease }))
}
