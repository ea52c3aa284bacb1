//! Schedules: jobs that are made again and again. An address names one by its id or by its name.

mod change;
mod create;
mod delete;
mod get;
mod list;
mod pause;
mod resume;
mod run;

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use domain::{Schedule, TenantId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::dto::schedule::ScheduleBody;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create::create_schedule))
        .routes(routes!(list::list_schedules))
        .routes(routes!(get::get_schedule))
        .routes(routes!(change::change_schedule))
        .routes(routes!(delete::delete_schedule))
        .routes(routes!(pause::pause_schedule))
        .routes(routes!(resume::resume_schedule))
        .routes(routes!(run::run_schedule))
}

/// As much of a name that nothing has is repeated: more than any has.
const NAMED_MAX: usize = 64;

/// The tenant's schedule of this id or name.
async fn find(app: &App, tenant: TenantId, named: &str) -> Result<Schedule, Problem> {
    let schedules = &app.ports.schedules;
    let found = match named.parse() {
        Ok(id) => schedules.schedule(tenant, id).await?,
        Err(_) => schedules.schedule_by_name(tenant, named).await?,
    };
    found.ok_or_else(|| no_such_schedule(named))
}

fn no_such_schedule(named: &str) -> Problem {
    let named: String = named.chars().take(NAMED_MAX).collect();
    let detail =
        format!("The tenant has no schedule `{named}`. Check its id or name, and the tenant.");
    Problem::new(&kinds::SCHEDULE_NOT_FOUND, detail)
}

/// A schedule with its version as `ETag`.
fn answer(app: &App, schedule: Schedule) -> Response {
    let tag = format!("\"{}\"", schedule.version);
    let body = ScheduleBody::of(schedule, app.ports.clock.now());
    ([(ETAG, tag)], Json(body)).into_response()
}
