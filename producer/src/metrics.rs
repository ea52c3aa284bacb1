//! Counts requests, and serves what is counted on a port of its own.
//!
//! Labels are route templates, known methods and status codes: never a path, a tenant or anything a client chooses.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use telemetry::Metrics;

use crate::state::App;

/// `GET /metrics`, to be served where only Prometheus comes by.
pub fn metrics_router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(metrics)
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    let content_type = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, metrics.render()).into_response()
}

/// The layer that counts.
pub(crate) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = known(request.method());
    let started = Instant::now();
    let response = next.run(request).await;
    let took = started.elapsed();
    let status = response.status();
    app.metrics
        .http_requests_total
        .with_label_values(&[route.as_str(), method, status.as_str()])
        .inc();
    app.metrics
        .http_request_duration_seconds
        .with_label_values(&[route.as_str(), method])
        .observe(took.as_secs_f64());
    tracing::debug!(route, status = status.as_u16(), ?took, "answered");
    response
}

/// A client may make methods up; a label may not.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
