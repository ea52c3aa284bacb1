use application::ports::Refused;
use application::use_cases::{Offer, SubmitError};
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use domain::{Job, JobId, TenantId, Violations};

use super::OfKind;
use crate::dto::job::JobBody;
use crate::problem::{Problem, no_parent, no_prerequisite, too_deep};
use crate::problem_kinds as kinds;
use crate::state::App;

/// Hands jobs in, all or none. `place` says where in the body the job of an index stands.
pub(crate) async fn submit(
    app: &App,
    tenant: TenantId,
    offers: Vec<Offer>,
    place: impl Fn(usize) -> String,
) -> Result<Vec<Job>, Problem> {
    let named: Vec<Vec<JobId>> = offers
        .iter()
        .map(|offer| offer.job.depends_on.clone())
        .collect();
    let parents: Vec<Option<JobId>> = offers.iter().map(|offer| offer.job.parent).collect();
    match app.submitter.submit(tenant, offers).await {
        Ok(jobs) => {
            for job in &jobs {
                app.metrics
                    .jobs_submitted_total
                    .with_label_values(&[job.kind().as_str()])
                    .inc();
            }
            Ok(jobs)
        }
        Err(SubmitError::Invalid(invalid)) => {
            let mut all = Violations::default();
            for (index, violations) in invalid {
                all.0.extend(violations.below(&place(index)).0);
            }
            Err(Problem::invalid(all))
        }
        Err(SubmitError::Refused(Refused::PrerequisiteUnknown(id))) => {
            let index = named.iter().position(|ids| ids.contains(&id));
            let pointer = format!("{}/depends_on", place(index.unwrap_or(0)));
            Err(Problem::invalid_at(&pointer, no_prerequisite(id)))
        }
        Err(SubmitError::Refused(Refused::ParentUnknown(id))) => {
            let index = parents.iter().position(|parent| *parent == Some(id));
            let pointer = format!("{}/parent_id", place(index.unwrap_or(0)));
            Err(Problem::invalid_at(&pointer, no_parent(id)))
        }
        Err(SubmitError::Refused(Refused::FamilyTooDeep(id))) => {
            let index = parents.iter().position(|parent| *parent == Some(id));
            let pointer = format!("{}/parent_id", place(index.unwrap_or(0)));
            Err(Problem::invalid_at(&pointer, too_deep(id)))
        }
        Err(SubmitError::Refused(refused)) => {
            let problem = Problem::from(refused);
            app.metrics
                .quota_refused_total
                .with_label_values(&[problem.code().to_ascii_lowercase().as_str()])
                .inc();
            Err(problem)
        }
        Err(SubmitError::Store(error)) => Err(error.into()),
    }
}

/// 201 with the job and its address.
pub(crate) fn created(of_kind: OfKind, job: Job) -> Response {
    let location = format!("{}/{}", of_kind.base(), job.id);
    let headers = [(LOCATION, location)];
    (StatusCode::CREATED, headers, Json(JobBody::from(job))).into_response()
}

/// Hands one job in.
pub(crate) async fn submit_one(app: &App, tenant: TenantId, offer: Offer) -> Result<Job, Problem> {
    if offer.name.is_some() {
        let detail = "is for bulk requests, whose sessions wait for each other by it; use `title`";
        return Err(Problem::invalid_at("/name", detail));
    }
    let mut jobs = submit(app, tenant, vec![offer], |_| String::new()).await?;
    jobs.pop().ok_or_else(|| {
        let detail =
            "The job was taken and then not found. Tell the operator, with the request_id.";
        Problem::new(&kinds::INTERNAL_ERROR, detail)
    })
}
