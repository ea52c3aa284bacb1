use application::ports::{SCHEDULES_MAX, ScheduleStoreError};
use application::use_cases::{self, CreateScheduleError};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};

use super::answer;
use crate::auth::Allowed;
use crate::auth::permit::SubmitJobs;
use crate::body::Body;
use crate::dto::schedule::{NewScheduleBody, ScheduleBody};
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::responses::{Bodied, Guarded};
use crate::state::App;

/// Create a schedule
///
/// From then on each tick of its timetable makes a job. The answer shows the next three of them.
#[utoipa::path(
    post,
    path = "/",
    tag = "Schedules",
    request_body = NewScheduleBody,
    responses(
        (status = 201, description = "The schedule.", body = ScheduleBody,
         headers(("Location" = String, description = "Its address."), ("ETag" = String, description = "Its version."))),
        (status = 409, description = "`SCHEDULE_NAME_TAKEN`: the tenant has a schedule of this name. `TOO_MANY_SCHEDULES`.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, Bodied,
    ),
)]
pub(super) async fn create_schedule(
    State(app): State<App>,
    allowed: Allowed<SubmitJobs>,
    Body(body): Body<NewScheduleBody>,
) -> Result<Response, Problem> {
    let new = body.into_new()?;
    let schedule = use_cases::create_schedule(&app.ports, allowed.tenant, new).await?;
    let location = format!("/api/v1/schedules/{}", schedule.id);
    let answer = answer(&app, schedule);
    Ok((StatusCode::CREATED, [(LOCATION, location)], answer).into_response())
}

impl From<CreateScheduleError> for Problem {
    fn from(error: CreateScheduleError) -> Self {
        match error {
            CreateScheduleError::Invalid(violations) => violations.into(),
            CreateScheduleError::Store(ScheduleStoreError::NameTaken(name)) => Self::new(
                &kinds::SCHEDULE_NAME_TAKEN,
                format!(
                    "The tenant has a schedule `{name}` already. Choose another name, or change that one."
                ),
            ),
            CreateScheduleError::Store(ScheduleStoreError::TooMany) => Self::new(
                &kinds::TOO_MANY_SCHEDULES,
                format!(
                    "A tenant may have {SCHEDULES_MAX} schedules. Delete those that are not needed."
                ),
            ),
            CreateScheduleError::Store(ScheduleStoreError::Store(error)) => error.into(),
        }
    }
}
