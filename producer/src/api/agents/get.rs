use axum::extract::State;
use axum::response::Response;

use super::{answer, find};
use crate::auth::Allowed;
use crate::auth::permit::ReadAgents;
use crate::dto::agent::RegisteredAgentBody;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfAgent};
use crate::state::App;

/// Get an agent
///
/// With its load, its health and what came of its tasks.
#[utoipa::path(
    get,
    path = "/{id}",
    tag = "Agents",
    params(("id" = String, Path, description = "The agent's id or name.")),
    responses(
        (status = 200, description = "The agent.", body = RegisteredAgentBody,
         headers(("ETag" = String, description = "Its version."))),
        Guarded, OfAgent,
    ),
)]
pub(super) async fn get_agent(
    State(app): State<App>,
    allowed: Allowed<ReadAgents>,
    TextPath(named): TextPath,
) -> Result<Response, Problem> {
    let found = find(&app, allowed.tenant, &named).await?;
    Ok(answer(&app, found))
}
