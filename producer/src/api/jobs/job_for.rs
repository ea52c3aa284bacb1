use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::{Job, JobId, TenantId};

use super::OfKind;
use crate::auth::{Allowed, permit};
use crate::path::JobPath;
use crate::problem::Problem;
use crate::state::App;

/// The job that an address names as `{id}`, for a caller whose role has the permit `P`. Whether there is such a job is
/// not known yet.
pub(super) struct JobFor<P> {
    pub app: App,
    pub tenant: TenantId,
    pub id: JobId,
    of_kind: OfKind,
    needs: PhantomData<P>,
}

impl<P: permit::Needs> FromRequestParts<App> for JobFor<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Ok(of_kind) = OfKind::from_request_parts(parts, app).await;
        let caller = Allowed::<P>::from_request_parts(parts, app).await?;
        let JobPath(id) = JobPath::from_request_parts(parts, app).await?;
        Ok(Self {
            app: app.clone(),
            tenant: caller.tenant,
            id,
            of_kind,
            needs: PhantomData,
        })
    }
}

impl<P> JobFor<P> {
    /// The tenant's job, if it is of the kind that the address is for.
    pub async fn find(&self) -> Result<Job, Problem> {
        self.of_kind.find(&self.app, self.tenant, self.id).await
    }

    pub fn not_found(&self) -> Problem {
        self.of_kind.not_found(self.id)
    }
}
