use application::use_cases;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;
use domain::Routing;

use crate::api::jobs::{OfKind, created, submit_one};
use crate::auth::Allowed;
use crate::auth::permit::SubmitJobs;
use crate::body::Body;
use crate::dto::job::JobBody;
use crate::dto::new_session::NewSession;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::responses::{Bodied, Guarded, Submitting};
use crate::state::App;

/// Create a session
///
/// When this answers, the session is stored durably and waits in its tenant's queue. With `wait: false` it is refused with
/// `AGENT_UNAVAILABLE` when no agent could take it now.
#[utoipa::path(
    post,
    path = "/",
    request_body = NewSession,
    responses(
        (status = 201, description = "The session, queued (or pending, with `start: false`).", body = JobBody,
         headers(("Location" = String, description = "Its address."))),
        Guarded, Bodied, Submitting,
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<SubmitJobs>,
    Body(mut body): Body<NewSession>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant;
    let waits = body.take_wait();
    let offer = body.into_offer()?;
    if let (false, Some(request)) = (waits, offer.job.spec.route()) {
        let routing = use_cases::route_task(&app.ports, tenant, request).await?;
        if routing.choice.is_none() {
            return Err(unavailable(&routing));
        }
    }
    let job = submit_one(&app, tenant, offer).await?;
    Ok(created(of_kind, job))
}

fn unavailable(routing: &Routing) -> Problem {
    let detail = format!(
        "The session was not taken: {}. Try again later, or let it wait.",
        routing.reason()
    );
    Problem::new(&kinds::AGENT_UNAVAILABLE, detail).header(RETRY_AFTER, "5")
}
