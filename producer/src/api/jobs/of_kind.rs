use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::{Job, JobId, JobKind, TenantId};

use crate::problem::Problem;
use crate::problem_kinds::{self as kinds, Kind};
use crate::state::App;

/// The kind of jobs that the routes around a handler are for; `None` for any kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfKind(pub Option<JobKind>);

impl<S: Send + Sync> FromRequestParts<S> for OfKind {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(None)))
    }
}

impl OfKind {
    /// The tenant's job, if it is of this kind.
    pub async fn find(self, app: &App, tenant: TenantId, id: JobId) -> Result<Job, Problem> {
        let job = app.ports.jobs.get(tenant, id).await?;
        job.filter(|job| self.0.is_none_or(|kind| kind == job.kind()))
            .ok_or_else(|| self.not_found(id))
    }

    pub fn not_found(self, id: JobId) -> Problem {
        let what = match self.0 {
            Some(JobKind::Session) => "session",
            Some(JobKind::Training) => "training job",
            None => "job",
        };
        let detail = format!("The tenant has no {what} {id}. Check the id and the tenant.");
        Problem::new(self.missing(), detail)
    }

    /// The problem that says so.
    pub const fn missing(self) -> &'static Kind {
        match self.0 {
            Some(JobKind::Session) => &kinds::SESSION_NOT_FOUND,
            _ => &kinds::JOB_NOT_FOUND,
        }
    }

    /// Where jobs of this kind are found.
    pub const fn base(self) -> &'static str {
        match self.0 {
            Some(JobKind::Session) => "/api/v1/sessions",
            Some(JobKind::Training) => "/api/v1/fine-tuning/jobs",
            None => "/api/v1/jobs",
        }
    }

    /// The name of the list in cursors.
    pub const fn list_name(self) -> &'static str {
        match self.0 {
            Some(JobKind::Session) => "sessions",
            Some(JobKind::Training) => "training",
            None => "jobs",
        }
    }
}
