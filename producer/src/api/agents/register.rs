use application::use_cases;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use domain::Candidate;

use super::{answer, owner};
use crate::auth::Allowed;
use crate::auth::permit::ManageAgents;
use crate::body::Body;
use crate::dto::agent::{NewAgentBody, RegisteredAgentBody};
use crate::problem::Problem;
use crate::responses::{Bodied, Guarded};
use crate::state::App;

/// Register an agent
///
/// One that workers run, of any kind that they know. Sessions that ask for what it can do may be routed to it from then
/// on. Services of their own register themselves at `/api/v1/agents/external/register`.
#[utoipa::path(
    post,
    path = "/",
    tag = "Agents",
    request_body = NewAgentBody,
    responses(
        (status = 201, description = "The agent.", body = RegisteredAgentBody,
         headers(("Location" = String, description = "Its address."), ("ETag" = String, description = "Its version."))),
        (status = 409, description = "`AGENT_NAME_TAKEN`: there is an agent of this name. `TOO_MANY_AGENTS`.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, Bodied,
    ),
)]
pub(super) async fn register_agent(
    State(app): State<App>,
    allowed: Allowed<ManageAgents>,
    Body(body): Body<NewAgentBody>,
) -> Result<Response, Problem> {
    let owner = owner(&allowed.caller, allowed.tenant, body.shared)?;
    let definition = body.into_definition()?;
    let agent = use_cases::register_agent(&app.ports, owner, definition).await?;
    let location = format!("/api/v1/agents/{}", agent.id);
    let answer = answer(&app, Candidate { agent, in_use: 0 });
    Ok((StatusCode::CREATED, [(LOCATION, location)], answer).into_response())
}
