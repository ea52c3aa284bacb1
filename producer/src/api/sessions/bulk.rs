use application::use_cases::Offer;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::Violations;

use crate::api::jobs::submit;
use crate::auth::Allowed;
use crate::auth::permit::SubmitJobs;
use crate::body::Body;
use crate::dto::new_session::{CreatedSessions, NewSession, NewSessions};
use crate::problem::Problem;
use crate::responses::{Bodied, Guarded, Submitting};
use crate::state::App;

const SESSIONS_MAX: usize = 1_000;

/// Create many sessions
///
/// All or none: when one is not valid, or the backlog has no room for all of them, nothing is stored. Errors point at
/// the session by its index, `/sessions/3/title`. Sessions may wait for each other by `name`; a round of them is refused
/// and named in the error.
#[utoipa::path(
    post,
    path = "/bulk",
    request_body = NewSessions,
    responses(
        (status = 201, description = "All were created.", body = CreatedSessions),
        Guarded, Bodied, Submitting,
    ),
)]
pub(super) async fn create_many(
    State(app): State<App>,
    caller: Allowed<SubmitJobs>,
    Body(body): Body<NewSessions>,
) -> Result<(StatusCode, Json<CreatedSessions>), Problem> {
    let tenant = caller.tenant;
    let count = body.sessions.len();
    if count == 0 || count > SESSIONS_MAX {
        let detail = format!("has {count} sessions; must be 1 to {SESSIONS_MAX}");
        return Err(Problem::invalid_at("/sessions", detail));
    }
    let jobs = submit(&app, tenant, offers(body.sessions)?, place).await?;
    let ids = jobs.into_iter().map(|job| job.id.as_uuid()).collect();
    Ok((StatusCode::CREATED, Json(CreatedSessions { ids })))
}

fn offers(sessions: Vec<NewSession>) -> Result<Vec<Offer>, Violations> {
    let mut jobs = Vec::with_capacity(sessions.len());
    let mut all = Violations::default();
    for (index, session) in sessions.into_iter().enumerate() {
        match session.into_offer() {
            Ok(job) => jobs.push(job),
            Err(violations) => all.0.extend(violations.below(&place(index)).0),
        }
    }
    all.or(jobs)
}

fn place(index: usize) -> String {
    format!("/sessions/{index}")
}
