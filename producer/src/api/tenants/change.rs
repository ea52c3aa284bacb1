use application::use_cases;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::get::visible;
use crate::auth::permit::ManageTenants;
use crate::auth::{Allowed, no_such_tenant};
use crate::body::Body;
use crate::dto::tenant::{TenantBody, TenantChangeBody};
use crate::if_match;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Bodied, Guarded, OfTenant, Versioned};
use crate::state::App;

/// Change a tenant
///
/// What is left out stays as it is. A lowered quota lets running jobs go on; no new ones start until there is room. Send
/// the `ETag` that you read as `If-Match`, so that two editors do not undo each other.
#[utoipa::path(
    patch,
    path = "/{id}",
    tag = "Tenants",
    params(
        ("id" = String, Path, description = "The tenant's id or slug."),
        ("If-Match" = Option<String>, Header, description = "Change it only if its ETag is one of these."),
    ),
    request_body = TenantChangeBody,
    responses(
        (status = 200, description = "The tenant, changed.", body = TenantBody,
         headers(("ETag" = String, description = "Its new version."))),
        Guarded, Bodied, OfTenant, Versioned,
    ),
)]
pub(super) async fn change_tenant(
    State(app): State<App>,
    allowed: Allowed<ManageTenants>,
    TextPath(named): TextPath,
    headers: HeaderMap,
    Body(body): Body<TenantChangeBody>,
) -> Result<Response, Problem> {
    let tenant = visible(&app, &allowed, &named).await?;
    let expected = if_match::expected_version(&headers, tenant.version, "tenant")?;
    let changed = use_cases::change_tenant(&app.ports, tenant.id, body.into(), expected).await?;
    match changed {
        Some(tenant) => super::answer(&app, tenant).await,
        None => Err(no_such_tenant(named)),
    }
}
