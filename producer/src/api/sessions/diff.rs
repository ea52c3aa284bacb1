use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use domain::{Artifact, DIFF_ARTIFACT, Job, JobSpec};

use crate::api::jobs::OfKind;
use crate::api::jobs::artifact::bytes_of;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::path::JobPath;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::responses::Guarded;
use crate::state::App;

/// Read a session's diff
///
/// What the latest run that left one changed in the repository, as `git diff` writes it. Empty when it changed nothing.
#[utoipa::path(
    get,
    path = "/{id}/diff",
    params(("id" = Uuid, Path, description = "The session's id.")),
    responses(
        (status = 200, description = "The diff.", body = String, content_type = "text/x-diff"),
        (status = 404, description = "`DIFF_NOT_FOUND` with the reason, or `SESSION_NOT_FOUND`.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded,
    ),
)]
pub(super) async fn diff(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<ReadJobs>,
    JobPath(id): JobPath,
) -> Result<Response, Problem> {
    let tenant = caller.tenant;
    let job = of_kind.find(&app, tenant, id).await?;
    let artifacts = app.ports.jobs.artifacts(tenant, id).await?;
    let latest = latest_diff(artifacts.unwrap_or_default()).ok_or_else(|| {
        let detail = why_missing(&job);
        Problem::new(&kinds::DIFF_NOT_FOUND, detail)
    })?;
    let body = bytes_of(&app, tenant, &latest).await?;
    Ok(([(CONTENT_TYPE, "text/x-diff; charset=utf-8")], body).into_response())
}

/// Artifacts come by run, so the last one is of the latest run.
pub(crate) fn latest_diff(artifacts: Vec<Artifact>) -> Option<Artifact> {
    artifacts
        .into_iter()
        .rfind(|artifact| artifact.name == DIFF_ARTIFACT)
}

pub(crate) fn why_missing(job: &Job) -> &'static str {
    let has_repository =
        matches!(&job.spec, JobSpec::Session(session) if session.repository.is_some());
    if !has_repository {
        "The session has no repository, so there is nothing to compare with."
    } else if job.state().is_finished() {
        "No run of the session came so far as to leave a diff."
    } else {
        "The session has not ended yet; its diff is there when it has."
    }
}
