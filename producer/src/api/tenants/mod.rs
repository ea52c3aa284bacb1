mod change;
mod create;
mod drain;
mod get;
mod list;
mod pause;
mod resume;

pub(crate) use list::{read_page, tenants_of};

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use domain::{Month, Tenant};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::dto::tenant::TenantBody;
use crate::problem::Problem;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create::create_tenant))
        .routes(routes!(list::list_tenants))
        .routes(routes!(get::get_tenant))
        .routes(routes!(change::change_tenant))
        .routes(routes!(pause::pause_tenant))
        .routes(routes!(resume::resume_tenant))
        .routes(routes!(drain::drain_tenant))
}

/// A tenant with its version as `ETag`, and what it has used in this month.
async fn answer(app: &App, tenant: Tenant) -> Result<Response, Problem> {
    let now = app.ports.clock.now();
    let month = app.ports.tenants.month(tenant.id, Month::of(now)).await?;
    let tag = format!("\"{}\"", tenant.version);
    let body = TenantBody::in_month(tenant, month, now);
    Ok(([(ETAG, tag)], Json(body)).into_response())
}
