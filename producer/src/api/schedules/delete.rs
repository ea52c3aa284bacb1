use axum::extract::State;
use axum::http::StatusCode;

use super::{find, no_such_schedule};
use crate::auth::Allowed;
use crate::auth::permit::SteerJobs;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfSchedule};
use crate::state::App;

/// Delete a schedule
///
/// It makes no more jobs. Those that it made stay, and run if they wait.
#[utoipa::path(
    delete,
    path = "/{id}",
    tag = "Schedules",
    params(("id" = String, Path, description = "The schedule's id or name.")),
    responses((status = 204, description = "The schedule is gone."), Guarded, OfSchedule),
)]
pub(super) async fn delete_schedule(
    State(app): State<App>,
    allowed: Allowed<SteerJobs>,
    TextPath(named): TextPath,
) -> Result<StatusCode, Problem> {
    let tenant = allowed.tenant;
    let schedule = find(&app, tenant, &named).await?;
    let schedules = &app.ports.schedules;
    if schedules.delete_schedule(tenant, schedule.id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_such_schedule(&named))
    }
}
