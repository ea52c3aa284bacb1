use application::ports::TenantError;
use application::use_cases;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};

use crate::auth::Allowed;
use crate::auth::permit::ManageTenants;
use crate::body::Body;
use crate::dto::tenant::{NewTenantBody, TenantBody};
use crate::if_match::version_moved;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::responses::{Bodied, Guarded};
use crate::state::App;

/// Create a tenant
#[utoipa::path(
    post,
    path = "/",
    tag = "Tenants",
    request_body = NewTenantBody,
    responses(
        (status = 201, description = "The tenant.", body = TenantBody,
         headers(("Location" = String, description = "Its address."), ("ETag" = String, description = "Its version."))),
        (status = 409, description = "`SLUG_TAKEN`: there is a tenant with this slug.",
         body = inline(crate::dto::problem::ProblemBody), content_type = "application/problem+json"),
        Guarded, Bodied,
    ),
)]
pub(super) async fn create_tenant(
    State(app): State<App>,
    _caller: Allowed<ManageTenants>,
    Body(body): Body<NewTenantBody>,
) -> Result<Response, Problem> {
    let tenant = use_cases::create_tenant(&app.ports, body.into()).await?;
    let location = format!("/api/v1/tenants/{}", tenant.id);
    let answer = super::answer(&app, tenant).await?;
    Ok((StatusCode::CREATED, [(LOCATION, location)], answer).into_response())
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::SlugTaken(slug) => Self::new(
                &kinds::SLUG_TAKEN,
                format!("There is a tenant with the slug `{slug}` already. Choose another one."),
            ),
            TenantError::VersionMoved(version) => version_moved(version, "tenant"),
            TenantError::Invalid(violations) => violations.into(),
            TenantError::Store(error) => error.into(),
        }
    }
}
