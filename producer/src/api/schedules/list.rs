use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse as _, Response};
use utoipa::IntoParams;

use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::cursor::Scope;
use crate::dto::schedule::{ScheduleBody, SchedulePage};
use crate::page::{self, Page};
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::state::App;

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
    let page = Page::read(&mut query, |cursor| scope.decode_text(cursor));
    query.finish()?;
    let schedules = &app.ports.schedules;
    let mut found = schedules
        .schedules(allowed.tenant, page.after.as_deref(), page.to_find())
        .await?;
    let next_cursor = page.cut(&mut found, |last| scope.encode(last.name.as_bytes()));
    let link = page::link(&uri, next_cursor.as_deref());
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
