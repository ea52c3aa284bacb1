use application::use_cases::{self, RunScheduleError};
use axum::extract::State;
use axum::response::Response;

use super::{find, no_such_schedule};
use crate::api::jobs::{OfKind, created};
use crate::auth::Allowed;
use crate::auth::permit::SubmitJobs;
use crate::dto::job::JobBody;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfSchedule, Submitting};
use crate::state::App;

/// Run a schedule now
///
/// Makes one job at once, also while the schedule is paused or its previous job has not ended. Its ticks go on as if
/// nothing had been.
#[utoipa::path(
    post,
    path = "/{id}/run",
    tag = "Schedules",
    params(("id" = String, Path, description = "The schedule's id or name.")),
    responses(
        (status = 201, description = "The job, queued (or pending, with `start: false`).", body = JobBody,
         headers(("Location" = String, description = "Its address."))),
        (status = 422, description = "`VALIDATION_ERROR`: what its jobs are made of is not valid any more; change it.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, OfSchedule, Submitting,
    ),
)]
pub(super) async fn run_schedule(
    State(app): State<App>,
    allowed: Allowed<SubmitJobs>,
    TextPath(named): TextPath,
) -> Result<Response, Problem> {
    let tenant = allowed.tenant;
    let schedule = find(&app, tenant, &named).await?;
    let job = use_cases::run_schedule(&app.ports, tenant, schedule.id).await?;
    let job = job.ok_or_else(|| no_such_schedule(&named))?;
    app.metrics
        .jobs_submitted_total
        .with_label_values(&[job.kind().as_str()])
        .inc();
    Ok(created(OfKind(Some(job.kind())), job))
}

impl From<RunScheduleError> for Problem {
    fn from(error: RunScheduleError) -> Self {
        match error {
            RunScheduleError::Invalid(violations) => violations.into(),
            RunScheduleError::Refused(refused) => refused.into(),
            RunScheduleError::Store(error) => error.into(),
        }
    }
}
