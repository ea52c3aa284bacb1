use application::ports::JobFilter;
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse as _, Response};
use domain::{Job, JobId, JobState, Priority, TenantId};
use utoipa::IntoParams;
use uuid::Uuid;

use super::OfKind;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::cursor::{CursorError, Scope};
use crate::dto::job::{JobBody, JobPage};
use crate::page::{self, Page};
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::state::App;

/// For the documentation; [`JobQuery::read`] reads them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters")]
struct ListParams {
    /// Only jobs in one of these states; may be repeated, or joined by commas.
    state: Option<String>,
    /// Only jobs of this priority.
    priority: Option<String>,
    /// Only jobs that carry this tag.
    tag: Option<String>,
    /// Only jobs whose title contains this, without regard to case.
    q: Option<String>,
    /// At most so many jobs, 1 to 200.
    #[param(default = 50, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List jobs
///
/// Newest first, a page at a time. A job that is created while a client pages never appears on a later page and never
/// pushes another one over.
#[utoipa::path(
    get,
    path = "/",
    params(ListParams),
    responses(
        (status = 200, description = "A page of jobs.", body = JobPage,
         headers(("Link" = String, description = "`rel=\"next\"` with the address of the next page, if there is one."))),
        Guarded, Queried,
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<ReadJobs>,
    OriginalUri(uri): OriginalUri,
    mut query: Query,
) -> Result<Response, Problem> {
    let tenant = caller.tenant;
    let wanted = JobQuery::read(&mut query, of_kind, tenant);
    query.finish()?;
    let (jobs, next_cursor) = wanted.page(&app).await?;
    let link = page::link(&uri, next_cursor.as_deref());
    let page = JobPage {
        items: jobs.into_iter().map(JobBody::from).collect(),
        next_cursor,
    };
    Ok((link, Json(page)).into_response())
}

/// Which page of which list of jobs.
pub(crate) struct JobQuery {
    tenant: TenantId,
    list: &'static str,
    /// Without its page.
    filter: JobFilter,
    /// The same as a text, for cursors.
    filters: String,
    page: Page<JobId>,
}

impl JobQuery {
    /// Takes the list's parameters out of `query`; what is wrong with them is kept there.
    pub fn read(query: &mut Query, of_kind: OfKind, tenant: TenantId) -> Self {
        let mut states: Vec<JobState> = query.many("state");
        states.sort_unstable();
        states.dedup();
        let filter = JobFilter {
            kind: of_kind.0,
            states,
            priority: query.one::<Priority>("priority"),
            tag: query.text("tag"),
            title: query.text("q"),
            ..JobFilter::default()
        };
        let list = of_kind.list_name();
        let filters = filters(&filter);
        let page = Page::read(query, |cursor| {
            decode(&scope(list, tenant, &filters), cursor)
        });
        Self {
            tenant,
            list,
            filter,
            filters,
            page,
        }
    }

    /// True for any page but the first.
    pub const fn is_continued(&self) -> bool {
        self.page.after.is_some()
    }

    /// The page and where the next one starts.
    pub async fn page(&self, app: &App) -> Result<(Vec<Job>, Option<String>), Problem> {
        let filter = JobFilter {
            before: self.page.after,
            limit: self.page.to_find(),
            ..self.filter.clone()
        };
        let mut jobs = app.ports.jobs.list(self.tenant, filter).await?;
        let scope = scope(self.list, self.tenant, &self.filters);
        let cursor = |last: &Job| scope.encode(last.id.as_uuid().as_bytes());
        let next_cursor = self.page.cut(&mut jobs, cursor);
        Ok((jobs, next_cursor))
    }
}

fn scope<'a>(list: &'a str, tenant: TenantId, filters: &'a str) -> Scope<'a> {
    Scope {
        list,
        tenant: Some(tenant),
        filters,
    }
}

/// The page is not among them: a client may change its limit while it pages.
fn filters(filter: &JobFilter) -> String {
    format!(
        "{:?} {:?} {:?} {:?}",
        filter.states, filter.priority, filter.tag, filter.title
    )
}

fn decode(scope: &Scope<'_>, cursor: &str) -> Result<JobId, CursorError> {
    let position = scope.decode(cursor)?;
    let id = Uuid::from_slice(&position).map_err(|_| CursorError::Unreadable)?;
    Ok(JobId::from_uuid(id))
}
