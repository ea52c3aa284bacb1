use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse as _, Response};
use domain::{AgentId, Candidate};
use utoipa::IntoParams;

use crate::auth::Allowed;
use crate::auth::permit::ReadAgents;
use crate::cursor::{CursorError, Scope};
use crate::dto::agent::{AgentPage, RegisteredAgentBody};
use crate::page::{self, Page};
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::state::App;

/// Between a cursor's id and name; no id has one.
const SEPARATOR: char = ' ';

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters")]
struct ListParams {
    /// At most so many agents, 1 to 200.
    #[param(default = 50, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List agents
///
/// Those that the tenant may use, its own and the shared ones, by name.
#[utoipa::path(
    get,
    path = "/",
    tag = "Agents",
    params(ListParams),
    responses(
        (status = 200, description = "A page of agents.", body = AgentPage,
         headers(("Link" = String, description = "`rel=\"next\"` with the address of the next page, if there is one."))),
        Guarded, Queried,
    ),
)]
pub(super) async fn list_agents(
    State(app): State<App>,
    allowed: Allowed<ReadAgents>,
    OriginalUri(uri): OriginalUri,
    mut query: Query,
) -> Result<Response, Problem> {
    let scope = Scope {
        list: "agents",
        tenant: Some(allowed.tenant),
        filters: "",
    };
    let page = Page::read(&mut query, |cursor| decode(&scope, cursor));
    query.finish()?;
    let agents = &app.ports.agents;
    let limit = page.to_find();
    let mut found = agents
        .agents(allowed.tenant, page.after.clone(), limit)
        .await?;
    let next_cursor = page.cut(&mut found, |last| scope.encode(position(last).as_bytes()));
    let link = page::link(&uri, next_cursor.as_deref());
    let now = app.ports.clock.now();
    let page = AgentPage {
        items: found
            .into_iter()
            .map(|candidate| RegisteredAgentBody::of(candidate, now))
            .collect(),
        next_cursor,
    };
    Ok((link, Json(page)).into_response())
}

fn position(candidate: &Candidate) -> String {
    let agent = &candidate.agent;
    format!("{}{SEPARATOR}{}", agent.id, agent.definition.name)
}

fn decode(scope: &Scope<'_>, cursor: &str) -> Result<(String, AgentId), CursorError> {
    let position = scope.decode_text(cursor)?;
    let (id, name) = position
        .split_once(SEPARATOR)
        .ok_or(CursorError::Unreadable)?;
    let id = id.parse().map_err(|_| CursorError::Unreadable)?;
    Ok((name.to_owned(), id))
}
