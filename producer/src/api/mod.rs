//! The routes, one file an endpoint: its handler, its documentation and what can go wrong with it.

mod agents;
mod dead_letters;
mod fine_tuning;
pub(crate) mod jobs;
mod keys;
pub(crate) mod queues;
mod schedules;
pub(crate) mod sessions;
pub(crate) mod system;
pub(crate) mod tenants;

use axum::Extension;
use domain::JobKind;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{OpenApi, PathItem};
use utoipa_axum::router::OpenApiRouter;

use crate::config::ProducerConfig;
use crate::state::App;
use jobs::OfKind;

/// Everything below `/api/v1` and `/health`. A route that is added here is documented by being added.
pub(crate) fn routes(config: &ProducerConfig, base: OpenApi) -> OpenApiRouter<App> {
    let sessions = sessions::routes(config).merge(jobs::routes());
    let trainings = fine_tuning::routes().merge(jobs::routes());
    let any = jobs::reading_routes();
    OpenApiRouter::with_openapi(base)
        .nest(
            "/api/v1/sessions",
            of_kind(Some(JobKind::Session), "Sessions", sessions),
        )
        .nest(
            "/api/v1/fine-tuning/jobs",
            of_kind(Some(JobKind::Training), "Fine-tuning", trainings),
        )
        .nest("/api/v1/jobs", of_kind(None, "Jobs", any))
        .nest("/api/v1/agents", agents::routes())
        .nest("/api/v1/schedules", schedules::routes())
        .nest("/api/v1/tenants", tenants::routes())
        .nest("/api/v1/keys", keys::routes())
        .nest("/api/v1/queues", queues::routes())
        .nest("/api/v1/dead-letters", dead_letters::routes())
        .merge(system::routes())
}

/// The same routes for one kind of jobs: a job of another kind is not found there. Their documentation gets ids and a
/// tag of their own.
fn of_kind(kind: Option<JobKind>, tag: &str, mut routes: OpenApiRouter<App>) -> OpenApiRouter<App> {
    let prefix = kind.map_or("any", JobKind::as_str);
    for item in routes.get_openapi_mut().paths.paths.values_mut() {
        for operation in operations(item) {
            let id = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = Some(format!("{prefix}_{id}"));
            operation.tags = Some(vec![tag.to_owned()]);
        }
    }
    routes.layer(Extension(OfKind(kind)))
}

/// The operations of the methods that this API uses.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .filter_map(Option::as_mut)
}
