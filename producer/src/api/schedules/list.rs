use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::header::LINK;
use axum::response::{IntoResponse as _, Response};
use utoipa::IntoParams;

use crate::api::jobs::list::{LIMIT_MAX, next_link};
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::cursor::{CursorError, Scope};
use crate::dto::schedule::{ScheduleBody, SchedulePage};
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::state::App;

const DEFAULT_LIMIT: u32 = 50;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters")]
struct ListParams {
    /// At most so many schedules, 1 to 200.
    #[param(default = 50, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List schedules
///
/// By name.
#[utoipa::path(
    get,
    path = "/",
    tag = "Schedules",
    params(ListParams),
    responses(
        (status = 200, description = "A page of schedules.", body = SchedulePage,
         headers(("Link" = String, description = "`rel=\"next\"` with the address of the next page, if there is one."))),
        Guarded, Queried,
    ),
)]
pub(super) async fn list_schedules(
    State(app): State<App>,
    allowed: Allowed<ReadJobs>,
    OriginalUri(uri): OriginalUri,
    mut query: Query,
) -> Result<Response, Problem> {
    let scope = Scope {
        list: "schedules",
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
            Ok(name) => after = Some(name),
            Err(error) => query.wrong("cursor", error.detail().to_owned()),
        }
    }
    query.finish()?;
    // One more than asked for tells whether there is another page.
    let schedules = &app.ports.schedules;
    let mut found = schedules
        .schedules(allowed.tenant, after.as_deref(), limit + 1)
        .await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > shown;
    found.truncate(shown);
    let last = found.last().filter(|_| more);
    let next_cursor = last.map(|schedule| scope.encode(schedule.name.as_bytes()));
    let link = next_cursor
        .as_deref()
        .map(|cursor| [(LINK, next_link(uri.path(), uri.query(), cursor))]);
    let now = app.ports.clock.now();
    let page = SchedulePage {
        items: found
            .into_iter()
            .map(|schedule| ScheduleBody::of(schedule, now))
            .collect(),
        next_cursor,
    };
    Ok((link, Json(page)).into_response())
}

fn decode(scope: &Scope<'_>, cursor: &str) -> Result<String, CursorError> {
    let position = scope.decode(cursor)?;
    String::from_utf8(position).map_err(|_| CursorError::Unreadable)
}
