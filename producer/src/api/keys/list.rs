use axum::Json;
use axum::extract::State;

use crate::auth::Allowed;
use crate::auth::permit::ManageKeys;
use crate::dto::key::{KeyBody, KeyList};
use crate::problem::Problem;
use crate::responses::Guarded;
use crate::state::App;

/// List API keys
///
/// Those of the tenant, revoked and expired ones included, without their secrets.
#[utoipa::path(
    get,
    path = "/",
    tag = "Keys",
    responses((status = 200, description = "The keys.", body = KeyList), Guarded),
)]
pub(super) async fn list_keys(
    State(app): State<App>,
    allowed: Allowed<ManageKeys>,
) -> Result<Json<KeyList>, Problem> {
    let keys = app.ports.keys.keys(allowed.tenant).await?;
    Ok(Json(KeyList {
        items: keys.into_iter().map(KeyBody::from).collect(),
    }))
}
