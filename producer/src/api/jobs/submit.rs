use application::use_cases::SubmitError;
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use domain::{Job, NewJob, TenantId, Violations};

use super::OfKind;
use crate::dto::job::JobBody;
use crate::problem::Problem;
use crate::state::App;

/// Hands jobs in, all or none. `place` says where in the body the job of an index stands.
pub(crate) async fn submit(
    app: &App,
    tenant: TenantId,
    jobs: Vec<NewJob>,
    place: impl Fn(usize) -> String,
) -> Result<Vec<Job>, Problem> {
    match app.submitter.submit(tenant, jobs).await {
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

/// 201 with the one job and its address.
pub(crate) fn created(of_kind: OfKind, jobs: Vec<Job>) -> Response {
    let answer = jobs.into_iter().next().map(|job| {
        let location = format!("{}/{}", of_kind.base(), job.id);
        ([(LOCATION, location)], Json(JobBody::from(job)))
    });
    (StatusCode::CREATED, answer).into_response()
}
