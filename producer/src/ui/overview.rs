//! The first page: what waits, what runs, what happened last.

use application::ports::QueueView;
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{Job, JobState, Timestamp};

use super::page::{Frame, PageError, html};
use super::visitor::Visitor;
use super::words::{Span, glyph, state_words};
use crate::api::jobs::OfKind;
use crate::api::jobs::list::JobQuery;
use crate::api::queues::list::queues_of;
use crate::api::tenants::tenants_of;
use crate::page::Page;
use crate::problem::Problem;
use crate::state::App;

/// Tenants whose queues an admin sees on this page.
const TENANTS_SHOWN: u32 = 50;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    totals: Totals,
    queues: Vec<QueueRow>,
    /// True when there are more tenants than are shown.
    more_tenants: bool,
    jobs: Vec<JobRow>,
    older: Option<String>,
    /// True on a page that is not the newest one.
    is_older: bool,
}

/// The tenant's own queues, all kinds together.
struct Totals {
    waiting: u32,
    oldest: Span,
    /// Without the quotas: each kind has its own, and a free slot of one is none of another.
    running: u32,
}

struct QueueRow {
    tenant: String,
    /// True for the tenant whose jobs are listed below.
    is_shown: bool,
    kind: &'static str,
    depth: u32,
    oldest: Span,
    running: u32,
    quota: u32,
    /// Of the quota, 0 to 100.
    percent: u32,
    paused: bool,
}

struct JobRow {
    href: String,
    id: String,
    state: &'static str,
    state_words: String,
    glyph: &'static str,
    title: String,
    kind: &'static str,
    priority: &'static str,
    attempts: String,
    age: Span,
    wait: Span,
    run: Span,
    /// 0 to 100, while a run says so.
    percent: Option<u32>,
}

pub(super) async fn overview(
    State(app): State<App>,
    mut visitor: Visitor,
) -> Result<Response, PageError> {
    let wanted = JobQuery::read(&mut visitor.query, OfKind(None), visitor.tenant);
    let is_older = wanted.is_continued();
    let (frame, tenant) = visitor.frame(&app).await?;
    let now = app.ports.clock.now();
    let own = app.ports.jobs.queues(visitor.tenant).await?;
    let (views, more_tenants) = if visitor.caller.is_admin() {
        all_queues(&app).await?
    } else {
        (own.clone(), false)
    };
    visitor.query.finish()?;
    let (jobs, next_cursor) = wanted.page(&app).await?;
    let join = if frame.suffix.is_empty() { "?" } else { "&" };
    let page = OverviewPage {
        totals: Totals::of(&own, now),
        queues: views
            .into_iter()
            .map(|view| QueueRow::new(view, &tenant.slug, now))
            .collect(),
        more_tenants,
        jobs: jobs
            .into_iter()
            .map(|job| JobRow::new(job, &frame.suffix, now))
            .collect(),
        older: next_cursor.map(|cursor| format!("/{}{join}cursor={cursor}", frame.suffix)),
        is_older,
        frame,
    };
    Ok(html(StatusCode::OK, &page))
}

async fn all_queues(app: &App) -> Result<(Vec<QueueView>, bool), Problem> {
    let first = Page {
        after: None,
        limit: TENANTS_SHOWN,
    };
    let (tenants, next) = tenants_of(app, &first).await?;
    Ok((queues_of(app, tenants).await?, next.is_some()))
}

impl Totals {
    fn of(queues: &[QueueView], now: Timestamp) -> Self {
        let oldest = queues
            .iter()
            .filter_map(|queue| queue.oldest_queued_at)
            .min();
        Self {
            waiting: queues.iter().map(|queue| queue.depth).sum(),
            oldest: oldest.map_or_else(Span::none, |at| Span::going_on(at, now)),
            running: queues.iter().map(|queue| queue.running).sum(),
        }
    }
}

impl QueueRow {
    fn new(view: QueueView, shown: &str, now: Timestamp) -> Self {
        let oldest = view.oldest_queued_at;
        Self {
            is_shown: view.tenant_slug == shown,
            tenant: view.tenant_slug,
            kind: view.queue.kind.as_str(),
            depth: view.depth,
            oldest: oldest.map_or_else(Span::none, |at| Span::going_on(at, now)),
            running: view.running,
            quota: view.quota,
            percent: (view.running.saturating_mul(100) / view.quota.max(1)).min(100),
            paused: view.paused,
        }
    }
}

impl JobRow {
    fn new(job: Job, suffix: &str, now: Timestamp) -> Self {
        let state = job.state();
        let times = Times::of(&job, now);
        let fraction = job.progress.as_ref().and_then(|progress| progress.fraction);
        Self {
            href: format!("/jobs/{}{suffix}", job.id),
            // The end of an id is what differs between neighbours.
            id: job.id.to_string().split_off(24),
            state: state.as_str(),
            state_words: state_words(state),
            glyph: glyph(state),
            kind: job.kind().as_str(),
            priority: job.priority.as_str(),
            attempts: format!("{}", job.attempt),
            age: Span::going_on(job.created_at, now),
            wait: times.wait,
            run: times.run,
            percent: fraction.filter(|_| state == JobState::Running).map(percent),
            title: job.title,
        }
    }
}

/// How long the job's latest wait and latest run took, or take.
pub(super) struct Times {
    pub wait: Span,
    pub run: Span,
}

impl Times {
    pub fn of(job: &Job, now: Timestamp) -> Self {
        let waits = job.state() == JobState::Queued;
        let wait = match (job.queued_at, job.started_at) {
            (Some(queued), _) if waits => Span::going_on(queued, now),
            (Some(queued), Some(started)) if queued <= started => Span::between(queued, started),
            _ => Span::none(),
        };
        let run = match (job.started_at, job.finished_at) {
            (Some(started), _) if job.state().holds_slot() => Span::going_on(started, now),
            (Some(started), Some(finished)) => Span::between(started, finished),
            _ => Span::none(),
        };
        Self { wait, run }
    }
}

/// A fraction as 0 to 100, whatever a run says.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=100, and a cast of NaN gives 0"
)]
pub(super) fn percent(fraction: f64) -> u32 {
    (fraction * 100.0).clamp(0.0, 100.0) as u32
}
