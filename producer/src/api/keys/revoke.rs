use axum::extract::State;
use axum::http::StatusCode;
use domain::ApiKeyId;

use crate::auth::Allowed;
use crate::auth::permit::ManageKeys;
use crate::path::KeyPath;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::responses::Guarded;
use crate::state::App;

/// Revoke an API key
///
/// It opens nothing any more, on every server within a few seconds. Its record is kept.
#[utoipa::path(
    delete,
    path = "/{id}",
    tag = "Keys",
    params(("id" = Uuid, Path, description = "The key's id.")),
    responses(
        (status = 204, description = "The key is revoked."),
        (status = 404, description = "`KEY_NOT_FOUND`: the tenant has no such key, or it is revoked already.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded,
    ),
)]
pub(super) async fn revoke_key(
    State(app): State<App>,
    allowed: Allowed<ManageKeys>,
    KeyPath(id): KeyPath,
) -> Result<StatusCode, Problem> {
    let keys = &app.ports.keys;
    let found = keys.key(id).await?.map(|(key, _)| key);
    let key = found
        .filter(|key| key.tenant == allowed.tenant)
        .ok_or_else(|| no_such_key(id))?;
    let own = allowed.caller.key.role;
    if key.role > own {
        let detail = format!(
            "A key of role {} cannot be revoked with one of role {own}. Ask somebody with the higher role.",
            key.role
        );
        return Err(Problem::new(&kinds::FORBIDDEN, detail));
    }
    let now = app.ports.clock.now();
    if keys.revoke_key(allowed.tenant, id, now).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_such_key(id))
    }
}

fn no_such_key(id: ApiKeyId) -> Problem {
    let detail = format!("The tenant has no key {id} that could be revoked.");
    Problem::new(&kinds::KEY_NOT_FOUND, detail)
}
