//! The whole of the HTTP side, put together: routes inside, layers around them.

use std::sync::Arc;

use application::ports::Ports;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use telemetry::Metrics;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::ProducerConfig;
use crate::openapi::{Description, head};
use crate::state::App;
use crate::{api, metrics, problem, request_id, security_headers, timeout, ui};

/// The API, the health checks and the pages. Needs a tokio runtime.
///
/// When `draining` is cancelled, event and log streams end and readiness fails; other requests are still answered.
pub fn router(
    ports: Ports,
    metrics: Arc<Metrics>,
    config: ProducerConfig,
    draining: CancellationToken,
) -> Router {
    let (api, document) = api::routes(&config, head()).split_for_parts();
    let body_limit = DefaultBodyLimit::max(config.body_limit_bytes);
    let app = App::new(ports, metrics, config, Description::of(&document), draining);
    api.merge(ui::routes())
        // The last one added is the outermost.
        .layer(body_limit)
        .layer(from_fn_with_state(app.clone(), timeout::bound))
        .layer(CatchPanicLayer::custom(problem::from_panic))
        .layer(from_fn(problem::render))
        .layer(from_fn(security_headers::add))
        .layer(from_fn_with_state(app.clone(), metrics::count))
        .layer(from_fn_with_state(app.clone(), request_id::tag))
        .with_state(app)
}
