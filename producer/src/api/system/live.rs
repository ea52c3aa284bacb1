use axum::Json;

use crate::dto::health::Live;

/// Is the process alive?
///
/// Touches nothing: it fails only when the process cannot answer at all.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "System",
    security(()),
    responses((status = 200, description = "It is.", body = Live)),
)]
pub(super) async fn live() -> Json<Live> {
    Json(Live { status: "live" })
}
