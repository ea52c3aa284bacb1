use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::header::LINK;
use axum::response::{IntoResponse as _, Response};
use domain::Tenant;
use utoipa::IntoParams;

use crate::api::jobs::list::{LIMIT_MAX, next_link};
use crate::auth::Allowed;
use crate::auth::permit::ReadTenant;
use crate::cursor::{CursorError, Scope};
use crate::dto::tenant::{TenantBody, TenantPage};
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::state::App;

const DEFAULT_LIMIT: u32 = 50;
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
    let page = TenantQuery::read(&mut query);
    query.finish()?;
    let (tenants, next_cursor) = if allowed.caller.is_admin() {
        page.fetch(&app).await?
    } else {
        let own = app.ports.tenants.tenant(allowed.tenant).await?;
        (own.into_iter().collect(), None)
    };
    let link = next_cursor
        .as_deref()
        .map(|cursor| [(LINK, next_link(uri.path(), uri.query(), cursor))]);
    let page = TenantPage {
        items: tenants.into_iter().map(TenantBody::from).collect(),
        next_cursor,
    };
    Ok((link, Json(page)).into_response())
}

/// Which page of the tenants.
pub(crate) struct TenantQuery {
    pub after: Option<String>,
    pub limit: u32,
}

impl TenantQuery {
    pub fn read(query: &mut Query) -> Self {
        let limit = query.number("limit", 1, LIMIT_MAX.into());
        let mut after = None;
        if let Some(cursor) = query.text("cursor") {
            match decode(&cursor) {
                Ok(slug) => after = Some(slug),
                Err(error) => query.wrong("cursor", error.detail().to_owned()),
            }
        }
        Self {
            after,
            limit: limit
                .and_then(|limit| limit.try_into().ok())
                .unwrap_or(DEFAULT_LIMIT),
        }
    }

    /// The page and where the next one starts.
    pub async fn fetch(&self, app: &App) -> Result<(Vec<Tenant>, Option<String>), Problem> {
        // One more than asked for tells whether there is another page.
        let tenants = &app.ports.tenants;
        let mut found = tenants
            .tenants(self.after.as_deref(), self.limit + 1)
            .await?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more);
        let cursor = last.map(|tenant| SCOPE.encode(tenant.slug.as_bytes()));
        Ok((found, cursor))
    }
}

fn decode(cursor: &str) -> Result<String, CursorError> {
    let position = SCOPE.decode(cursor)?;
    String::from_utf8(position).map_err(|_| CursorError::Unreadable)
}
