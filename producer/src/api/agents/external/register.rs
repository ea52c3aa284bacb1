use application::use_cases;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::agents::owner;
use crate::auth::Allowed;
use crate::auth::permit::ManageAgents;
use crate::body::Body;
use crate::dto::external_agent::{NewExternalAgent, RegisteredExternalAgent};
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Bodied, Guarded};
use crate::state::App;

/// Register an external agent
///
/// A service of its own, by the External Agent Protocol 1.0. Under a name that the owner has an external agent of already,
/// this is the same agent again with a new token. It can be routed to from its first heartbeat on, and no more after three
/// missed ones.
#[utoipa::path(
    post,
    path = "/external/register",
    tag = "Agents",
    params(("shared" = Option<bool>, Query, description = "For all tenants; needs a system admin.")),
    request_body = NewExternalAgent,
    responses(
        (status = 201, description = "Its id and its token.", body = RegisteredExternalAgent),
        (status = 409, description = "`AGENT_NAME_TAKEN`: there is an agent of this name that is no external one. `TOO_MANY_AGENTS`.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, Bodied,
    ),
)]
pub(in crate::api::agents) async fn register_external_agent(
    State(app): State<App>,
    allowed: Allowed<ManageAgents>,
    mut query: Query,
    Body(body): Body<NewExternalAgent>,
) -> Result<(StatusCode, Json<RegisteredExternalAgent>), Problem> {
    let shared = query.flag("shared");
    query.finish()?;
    let owner = owner(&allowed.caller, allowed.tenant, shared)?;
    let definition = body.into_definition()?;
    let config = &app.config;
    let pushing = (&config.outbound, config.agent_tokens.as_ref());
    let (agent, token) =
        use_cases::register_external(&app.ports, owner, definition, pushing).await?;
    let answer = RegisteredExternalAgent::of(agent.id.as_uuid(), token);
    Ok((StatusCode::CREATED, Json(answer)))
}
