//! The routes, one file an endpoint: its handler, its documentation and what can go wrong with it.

mod fine_tuning;
pub(crate) mod jobs;
mod keys;
mod sessions;
mod system;
mod tenants;

use axum::Router;
use domain::JobKind;
use utoipa::openapi::{OpenApi, PathItem};
use utoipa_axum::router::OpenApiRouter;

use crate::config::ProducerConfig;
use crate::state::{App, JobsOf};

/// Everything below `/api/v1` and `/health`, each route documented where it is added.
pub(crate) fn routes(config: &ProducerConfig, base: OpenApi) -> OpenApiRouter<JobsOf> {
    OpenApiRouter::with_openapi(base)
        .nest("/api/v1/tenants", tenants::routes())
        .nest("/api/v1/keys", keys::routes())
        .merge(system::routes())
        .merge(of_kinds(config))
}
