use axum::extract::State;
use axum::response::Response;

use crate::api::jobs::{OfKind, created, submit_one};
use crate::auth::Allowed;
use crate::auth::permit::SubmitJobs;
use crate::body::Body;
use crate::dto::job::JobBody;
use crate::dto::new_training::NewTraining;
use crate::problem::Problem;
use crate::responses::{Bodied, Guarded, Submitting};
use crate::state::App;

/// Create a training job
///
/// When this answers, the job is stored durably and waits in its tenant's queue.
#[utoipa::path(
    post,
    path = "/",
    request_body = NewTraining,
    responses(
        (status = 201, description = "The job, queued (or pending, with `start: false`).", body = JobBody,
         headers(("Location" = String, description = "Its address."))),
        Guarded, Bodied, Submitting,
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<SubmitJobs>,
    Body(body): Body<NewTraining>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant;
    let job = submit_one(&app, tenant, body.into_offer()?).await?;
    Ok(created(of_kind, job))
}
