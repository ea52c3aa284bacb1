use axum::extract::State;
use axum::response::Response;
use domain::Tenant;

use crate::auth::permit::ReadTenant;
use crate::auth::{Allowed, find_tenant, no_such_tenant};
use crate::dto::tenant::TenantBody;
use crate::path::TextPath;
use crate::problem::Problem;
use crate::responses::{Guarded, OfTenant};
use crate::state::App;

/// Get a tenant
///
/// With what its sessions have used in this month.
#[utoipa::path(
    get,
    path = "/{id}",
    tag = "Tenants",
    params(("id" = String, Path, description = "The tenant's id or slug.")),
    responses(
        (status = 200, description = "The tenant.", body = TenantBody,
         headers(("ETag" = String, description = "Its version."))),
        Guarded, OfTenant,
    ),
)]
pub(super) async fn get_tenant(
    State(app): State<App>,
    allowed: Allowed<ReadTenant>,
    TextPath(named): TextPath,
) -> Result<Response, Problem> {
    let tenant = visible(&app, &allowed, &named).await?;
    super::answer(&app, tenant).await
}

/// The tenant, if the caller may know of it.
pub(super) async fn visible<P>(
    app: &App,
    allowed: &Allowed<P>,
    named: &str,
) -> Result<Tenant, Problem> {
    let tenant = find_tenant(app, named).await?;
    tenant
        .filter(|tenant| tenant.id == allowed.tenant || allowed.caller.is_admin())
        .ok_or_else(|| no_such_tenant(named))
}
