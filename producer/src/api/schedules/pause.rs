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

/// Pause a schedule
///
/// It makes no jobs until it is resumed; those that it made go on. Pausing twice changes nothing more.
#[utoipa::path(
    post,
    path = "/{id}/pause",
    tag = "Schedules",
    params(("id" = String, Path, description = "The schedule's id or name.")),
    responses(
        (status = 200, description = "The schedule, paused.", body = ScheduleBody,
         headers(("ETag" = String, description = "Its version."))),
        Guarded, OfSchedule,
    ),
)]
pub(super) async fn pause_schedule(
    State(app): State<App>,
    allowed: Allowed<SteerJobs>,
    TextPath(named): TextPath,
) -> Result<Response, Problem> {
    set_paused(&app, allowed.tenant, &named, true).await
}
