//! What only coding sessions have: how they are asked for, and the diff they leave.

mod bulk;
mod create;
pub(crate) mod diff;

use axum::extract::DefaultBodyLimit;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::config::ProducerConfig;
use crate::state::App;

pub(super) fn routes(config: &ProducerConfig) -> OpenApiRouter<App> {
    let bulk_limit = DefaultBodyLimit::max(config.bulk_body_limit_bytes);
    OpenApiRouter::new()
        .routes(routes!(create::create))
        .routes(routes!(bulk::create_many).layer(bulk_limit))
        .routes(routes!(diff::diff))
}
