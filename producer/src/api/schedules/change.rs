use application::use_cases::{self, ChangeScheduleError};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::{ScheduleChange, TenantId};

use super::{answer, find, no_such_schedule};
use crate::auth::Allowed;
use crate::auth::permit::SteerJobs;
use crate::body::Body;
use crate::dto::schedule::{ScheduleBody, ScheduleChangeBody};
use crate::if_match;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Bodied, Guarded, OfSchedule, Versioned};
use crate::state::App;

/// Change a schedule
///
/// What is left out stays as it is; jobs that were made already stay as they are. Send the `ETag` that you read as
/// `If-Match`, so that two editors do not undo each other.
#[utoipa::path(
    patch,
    path = "/{id}",
    tag = "Schedules",
    params(
        ("id" = String, Path, description = "The schedule's id or name."),
        ("If-Match" = Option<String>, Header, description = "Change it only if its ETag is one of these."),
    ),
    request_body = ScheduleChangeBody,
    responses(
        (status = 200, description = "The schedule, changed.", body = ScheduleBody,
         headers(("ETag" = String, description = "Its new version."))),
        Guarded, Bodied, OfSchedule, Versioned,
    ),
)]
pub(super) async fn change_schedule(
    State(app): State<App>,
    allowed: Allowed<SteerJobs>,
    TextPath(named): TextPath,
    headers: HeaderMap,
    Body(body): Body<ScheduleChangeBody>,
) -> Result<Response, Problem> {
    let change = body.into_change()?;
    change_named(&app, allowed.tenant, &named, change, &headers).await
}

pub(super) async fn set_paused(
    app: &App,
    tenant: TenantId,
    named: &str,
    paused: bool,
) -> Result<Response, Problem> {
    let change = ScheduleChange {
        paused: Some(paused),
        ..ScheduleChange::default()
    };
    change_named(app, tenant, named, change, &HeaderMap::new()).await
}

async fn change_named(
    app: &App,
    tenant: TenantId,
    named: &str,
    change: ScheduleChange,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let schedule = find(app, tenant, named).await?;
    let expected = if_match::expected_version(headers, schedule.version, "schedule")?;
    let id = schedule.id;
    let changed = use_cases::change_schedule(&app.ports, tenant, id, change, expected).await?;
    let changed = changed.ok_or_else(|| no_such_schedule(named))?;
    Ok(answer(app, changed))
}

impl From<ChangeScheduleError> for Problem {
    fn from(error: ChangeScheduleError) -> Self {
        match error {
            ChangeScheduleError::Invalid(violations) => violations.into(),
            ChangeScheduleError::VersionMoved(version) => {
                if_match::version_moved(version, "schedule")
            }
            ChangeScheduleError::Store(error) => error.into(),
        }
    }
}
