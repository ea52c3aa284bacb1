use application::ports::JobFilter;
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::header::LINK;
use axum::response::{IntoResponse as _, Response};
use domain::{Job, JobId, JobState, Priority, TenantId};
use utoipa::IntoParams;
use uuid::Uuid;

use super::OfKind;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::cursor::{CursorError, Scope};
use crate::dto::job::{JobBody, JobPage};
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::state::App;

const DEFAULT_LIMIT: u32 = 50;
pub(crate) const LIMIT_MAX: u32 = 200;

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
    let link = next_cursor
        .as_deref()
        .map(|cursor| [(LINK, next_link(uri.path(), uri.query(), cursor))]);
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
    filter: JobFilter,
}

impl JobQuery {
    /// Takes the list's parameters out of `query`; what is wrong with them is kept there.
    pub fn read(query: &mut Query, of_kind: OfKind, tenant: TenantId) -> Self {
        let mut states: Vec<JobState> = query.many("state");
        states.sort_unstable();
        states.dedup();
        let mut wanted = Self {
            tenant,
            list: of_kind.list_name(),
            filter: JobFilter {
                kind: of_kind.0,
                states,
                priority: query.one::<Priority>("priority"),
                tag: query.text("tag"),
                title: query.text("q"),
                before: None,
                limit: query
                    .number("limit", 1, LIMIT_MAX.into())
                    .and_then(|limit| limit.try_into().ok())
                    .unwrap_or(DEFAULT_LIMIT),
            },
        };
        if let Some(cursor) = query.text("cursor") {
            match wanted.decode(&cursor) {
                Ok(before) => wanted.filter.before = Some(before),
                Err(error) => query.wrong("cursor", error.detail().to_owned()),
            }
        }
        wanted
    }

    /// True for any page but the first.
    pub const fn is_continued(&self) -> bool {
        self.filter.before.is_some()
    }

    /// The page and where the next one starts.
    pub async fn page(&self, app: &App) -> Result<(Vec<Job>, Option<String>), Problem> {
        // One more than asked for tells whether there is another page.
        let filter = JobFilter {
            limit: self.filter.limit + 1,
            ..self.filter.clone()
        };
        let mut jobs = app.ports.jobs.list(self.tenant, filter).await?;
        let limit = usize::try_from(self.filter.limit).unwrap_or(usize::MAX);
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let last = jobs.last().filter(|_| more);
        let cursor = last.map(|job| {
            let filters = self.filters();
            self.scope(&filters).encode(job.id.as_uuid().as_bytes())
        });
        Ok((jobs, cursor))
    }

    fn decode(&self, cursor: &str) -> Result<JobId, CursorError> {
        let filters = self.filters();
        let position = self.scope(&filters).decode(cursor)?;
        let id = Uuid::from_slice(&position).map_err(|_| CursorError::Unreadable)?;
        Ok(JobId::from_uuid(id))
    }

    fn scope<'a>(&self, filters: &'a str) -> Scope<'a> {
        Scope {
            list: self.list,
            tenant: Some(self.tenant),
            filters,
        }
    }

    /// The limit is not among them: a client may change it while it pages.
    fn filters(&self) -> String {
        let filter = &self.filter;
        format!(
            "{:?} {:?} {:?} {:?}",
            filter.states, filter.priority, filter.tag, filter.title
        )
    }
}

/// The address of this list with another cursor.
pub(crate) fn next_link(path: &str, query: Option<&str>, cursor: &str) -> String {
    let kept = query
        .unwrap_or("")
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let mut address = format!("<{path}?");
    for pair in kept {
        address.push_str(pair);
        address.push('&');
    }
    address.push_str("cursor=");
    address.push_str(cursor);
    address.push_str(">; rel=\"next\"");
    address
}
