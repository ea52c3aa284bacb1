use axum::extract::State;
use axum::response::Response;

use super::change::set_paused;
use crate::auth::Allowed;
use crate::auth::permit::SteerJobs;
use crate::dto::schedule::ScheduleBody;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfSchedule};
use crate::state::App;

/// Resume a schedule
///
/// It goes on with the next tick from now. Ticks that came while it was paused are not made up for.
#[utoipa::path(
    post,
    path = "/{id}/resume",
    tag = "Schedules",
    params(("id" = String, Path, description = "The schedule's id or name.")),
    responses(
        (status = 200, description = "The schedule, not paused.", body = ScheduleBody,
         headers(("ETag" = String, description = "Its version."))),
        Guarded, OfSchedule,
    ),
)]
pub(super) async fn resume_schedule(
    State(app): State<App>,
    allowed: Allowed<SteerJobs>,
    TextPath(named): TextPath,
) -> Result<Response, Problem> {
    set_paused(&app, allowed.tenant, &named, false).await
}
