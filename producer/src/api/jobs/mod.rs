//! What can be done with a job of any kind. The same routes stand under `/sessions` and `/fine-tuning/jobs`.

pub(crate) mod artifact;
mod artifacts;
mod attempts;
mod checkpoints;
mod events;
mod get;
mod job_for;
pub(crate) mod list;
pub(crate) mod logs;
mod of_kind;
pub(crate) mod steer;
mod submit;
mod why;

pub(crate) use of_kind::OfKind;
pub(crate) use submit::{created, submit, submit_one};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    reading_routes()
        .routes(routes!(steer::start))
        .routes(routes!(steer::cancel))
        .routes(routes!(steer::stop))
        .routes(routes!(steer::pause))
        .routes(routes!(steer::resume))
        .routes(routes!(steer::retry))
        .routes(routes!(why::why))
        .routes(routes!(events::events))
        .routes(routes!(logs::logs))
        .routes(routes!(attempts::attempts))
        .routes(routes!(checkpoints::checkpoints))
        .routes(routes!(checkpoints::restore))
        .routes(routes!(artifacts::artifacts))
        .routes(routes!(artifact::artifact))
}

pub(super) fn reading_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(get::get))
}
