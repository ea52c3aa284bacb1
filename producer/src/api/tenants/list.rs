use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse as _, Response};
use domain::Tenant;
use utoipa::IntoParams;

use crate::auth::Allowed;
use crate::auth::permit::ReadTenant;
use crate::cursor::Scope;
use crate::dto::tenant::{TenantBody, TenantPage};
use crate::page::{self, Page};
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::state::App;

const SCOPE: Scope<'static> = Scope {
    list: "tenants",
    tenant: None,
    filters: "",
};

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters")]
struct ListParams {
    /// At most so many tenants, 1 to 200.
    #[param(default = 50, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List tenants
///
/// By slug. A system admin sees all of them, everybody else their own.
#[utoipa::path(
    get,
    path = "/",
    tag = "Tenants",
    params(ListParams),
    responses(
        (status = 200, description = "A page of tenants.", body = TenantPage,
         headers(("Link" = String, description = "`rel=\"next\"` with the address of the next page, if there is one."))),
        Guarded, Queried,
    ),
)]
pub(super) async fn list_tenants(
    State(app): State<App>,
    allowed: Allowed<ReadTenant>,
    OriginalUri(uri): OriginalUri,
    mut query: Query,
) -> Result<Response, Problem> {
    let page = read_page(&mut query);
    query.finish()?;
    let (tenants, next_cursor) = if allowed.caller.is_admin() {
        tenants_of(&app, &page).await?
    } else {
        let own = app.ports.tenants.tenant(allowed.tenant).await?;
        (own.into_iter().collect(), None)
    };
    let link = page::link(&uri, next_cursor.as_deref());
    let page = TenantPage {
        items: tenants.into_iter().map(TenantBody::from).collect(),
        next_cursor,
    };
    Ok((link, Json(page)).into_response())
}

/// The page of tenants that is asked for, by slug.
pub(crate) fn read_page(query: &mut Query) -> Page<String> {
    Page::read(query, |cursor| SCOPE.decode_text(cursor))
}

/// The tenants of a page and where the next one starts.
pub(crate) async fn tenants_of(
    app: &App,
    page: &Page<String>,
) -> Result<(Vec<Tenant>, Option<String>), Problem> {
    let tenants = &app.ports.tenants;
    let mut found = tenants
        .tenants(page.after.as_deref(), page.to_find())
        .await?;
    let next_cursor = page.cut(&mut found, |last| SCOPE.encode(last.slug.as_bytes()));
    Ok((found, next_cursor))
}
