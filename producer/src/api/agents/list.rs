use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::header::LINK;
use axum::response::{IntoResponse as _, Response};
use domain::{AgentId, Candidate};
use utoipa::IntoParams;

use crate::api::jobs::list::{LIMIT_MAX, next_link};
use crate::auth::Allowed;
use crate::auth::permit::ReadAgents;
use crate::cursor::{CursorError, Scope};
use crate::dto::agent::{AgentPage, RegisteredAgentBody};
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::state::App;

const DEFAULT_LIMIT: u32 = 50;
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
    let limit = query.number("limit", 1, LIMIT_MAX.into());
    let limit = limit
        .and_then(|limit| limit.try_into().ok())
        .unwrap_or(DEFAULT_LIMIT);
    let mut after = None;
    if let Some(cursor) = query.text("cursor") {
        match decode(&scope, &cursor) {
            Ok(position) => after = Some(position),
            Err(error) => query.wrong("cursor", error.detail().to_owned()),
        }
    }
    query.finish()?;
    // One more than asked for tells whether there is another page.
    let agents = &app.ports.agents;
    let mut found = agents.agents(allowed.tenant, after, limit + 1).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > shown;
    found.truncate(shown);
    let last = found.last().filter(|_| more);
    let next_cursor = last.map(|candidate| scope.encode(position(candidate).as_bytes()));
    let link = next_cursor
        .as_deref()
        .map(|cursor| [(LINK, next_link(uri.path(), uri.query(), cursor))]);
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
    let position = scope.decode(cursor)?;
    let position = String::from_utf8(position).map_err(|_| CursorError::Unreadable)?;
    let (id, name) = position
        .split_once(SEPARATOR)
        .ok_or(CursorError::Unreadable)?;
    let id = id.parse().map_err(|_| CursorError::Unreadable)?;
    Ok((name.to_owned(), id))
}
