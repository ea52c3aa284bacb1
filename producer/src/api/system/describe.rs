use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};

use crate::state::App;

/// Describe this API
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "System",
    security(()),
    responses((status = 200, description = "This document.", body = Object, content_type = "application/json")),
)]
pub(super) async fn describe(State(app): State<App>) -> Response {
    let document = app.description.json.clone();
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}
