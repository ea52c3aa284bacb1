use application::ports::QueueView;
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse as _, Response};
use domain::{Tenant, TenantId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use utoipa::IntoParams;

use crate::api::tenants;
use crate::auth::Allowed;
use crate::auth::permit::ReadTenant;
use crate::dto::queue::{QueueBody, QueuePage};
use crate::page;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::state::App;

/// Tenants whose queues are read at the same time.
const AT_ONCE: usize = 8;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters")]
struct QueueParams {
    /// For system admins: the queues of all tenants, by slug, a page at a time.
    #[param(default = false)]
    all: Option<bool>,
    /// With `all=true`: at most so many tenants, 1 to 200.
    #[param(default = 50, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// With `all=true`: `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List queues
///
/// One row for each kind of jobs of the tenant: how many wait, for how long, how many run, how many may.
#[utoipa::path(
    get,
    path = "/",
    tag = "Queues",
    params(QueueParams),
    responses((status = 200, description = "The queues.", body = QueuePage), Guarded, Queried),
)]
pub(super) async fn list_queues(
    State(app): State<App>,
    allowed: Allowed<ReadTenant>,
    OriginalUri(uri): OriginalUri,
    mut query: Query,
) -> Result<Response, Problem> {
    let all = query.flag("all");
    let page = if all {
        Some(tenants::read_page(&mut query))
    } else {
        None
    };
    query.finish()?;
    let (views, next_cursor) = match page {
        None => (app.ports.jobs.queues(allowed.tenant).await?, None),
        Some(page) if allowed.caller.is_admin() => {
            let (tenants, next) = tenants::tenants_of(&app, &page).await?;
            (queues_of(&app, tenants).await?, next)
        }
        Some(_) => {
            let detail = "Only a system admin sees the queues of all tenants. Leave `all` out to see your own.";
            return Err(Problem::new(&kinds::FORBIDDEN, detail));
        }
    };
    let now = app.ports.clock.now();
    let link = page::link(&uri, next_cursor.as_deref());
    let items = views.into_iter().map(|view| QueueBody::new(view, now));
    let page = QueuePage {
        items: items.collect(),
        next_cursor,
    };
    Ok((link, Json(page)).into_response())
}

/// The queues of these tenants, in their order.
pub(crate) async fn queues_of(app: &App, tenants: Vec<Tenant>) -> Result<Vec<QueueView>, Problem> {
    let ids: Vec<TenantId> = tenants.into_iter().map(|tenant| tenant.id).collect();
    let views: Vec<Vec<QueueView>> = stream::iter(ids)
        .map(|id| app.ports.jobs.queues(id))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(views.into_iter().flatten().collect())
}
