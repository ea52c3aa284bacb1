use axum::extract::State;
use axum::response::Response;

use super::{answer, find};
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::dto::schedule::ScheduleBody;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfSchedule};
use crate::state::App;

/// Get a schedule
#[utoipa::path(
    get,
    path = "/{id}",
    tag = "Schedules",
    params(("id" = String, Path, description = "The schedule's id or name.")),
    responses(
        (status = 200, description = "The schedule.", body = ScheduleBody,
         headers(("ETag" = String, description = "Its version."))),
        Guarded, OfSchedule,
    ),
)]
pub(super) async fn get_schedule(
    State(app): State<App>,
    allowed: Allowed<ReadJobs>,
    TextPath(named): TextPath,
) -> Result<Response, Problem> {
    let schedule = find(&app, allowed.tenant, &named).await?;
    Ok(answer(&app, schedule))
}
