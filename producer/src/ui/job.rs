//! One job: what it is, how it stands, what happened to it, what it printed and what it changed.

use application::ports::StoreError;
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{Artifact, Attempt, Job, JobEvent, JobKind, TenantId, Timestamp};
use serde_json::{Map, Value};

use super::diff_view::DiffView;
use super::overview::{Times, percent};
use super::page::{Frame, PageError, html};
use super::visitor::Visitor;
use super::words::{Span, bytes, glyph, instant, state_words};
use crate::api::jobs::OfKind;
use crate::api::jobs::logs::{Writer, last_lines};
use crate::api::sessions::diff::{latest_diff, why_missing};
use crate::path::JobPath;
use crate::problem::Problem;
use crate::state::App;

const LOG_LINES: u32 = 200;
const EVENTS_SHOWN: usize = 100;
/// Events are read from the first one; so many reads of so many events at most.
const EVENT_READS: u32 = 20;
const EVENTS_A_READ: u32 = 1_000;

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    head: Head,
    facts: Vec<Fact>,
    error: Option<String>,
    spec: String,
    result: Option<String>,
    events: Vec<EventRow>,
    events_before: usize,
    attempts: Vec<AttemptRow>,
    artifacts: Vec<ArtifactRow>,
    log: String,
    no_log: &'static str,
    diff: Option<DiffView>,
    no_diff: &'static str,
}

struct Head {
    id: String,
    api: String,
    is_session: bool,
    title: String,
    kind: &'static str,
    state: &'static str,
    state_words: String,
    glyph: &'static str,
    tags: Vec<String>,
    percent: Option<u32>,
    progress: Option<String>,
}

struct Fact {
    name: &'static str,
    value: Span,
}

struct EventRow {
    seq: i64,
    at: String,
    kind: String,
    attempt: u32,
    data: String,
}

struct AttemptRow {
    number: u32,
    outcome: String,
    started: String,
    took: Span,
    worker: String,
    error: Option<String>,
}

struct ArtifactRow {
    name: String,
    href: String,
    attempt: u32,
    size: String,
}

pub(super) async fn job(
    State(app): State<App>,
    visitor: Visitor,
    path: Result<JobPath, Problem>,
) -> Result<Response, PageError> {
    let JobPath(id) = path?;
    let (frame, tenant) = visitor.frame(&app).await?;
    visitor.query.finish()?;
    let job = OfKind(None).find(&app, tenant.id, id).await?;
    let now = app.ports.clock.now();
    let jobs = &app.ports.jobs;
    let (events, attempts, artifacts, log) = tokio::try_join!(
        latest_events(&app, &job),
        jobs.attempts(tenant.id, id),
        jobs.artifacts(tenant.id, id),
        jobs.log_tail(tenant.id, id, LOG_LINES),
    )?;
    let artifacts = artifacts.unwrap_or_default();
    let log = Writer::default().write(log.unwrap_or_default());
    let diff = diff_of(&app, tenant.id, &artifacts).await?;
    let head = Head::of(&job);
    let page = JobPage {
        facts: facts(&job, now),
        error: job.error.as_ref().map(ToString::to_string),
        spec: pretty(&job.spec),
        result: job.result.as_ref().map(pretty),
        events_before: events.len().saturating_sub(EVENTS_SHOWN),
        events: events
            .into_iter()
            .rev()
            .take(EVENTS_SHOWN)
            .map(EventRow::from)
            .collect(),
        attempts: attempts
            .unwrap_or_default()
            .into_iter()
            .rev()
            .map(|attempt| AttemptRow::new(attempt, now))
            .collect(),
        artifacts: artifacts
            .into_iter()
            .map(|artifact| ArtifactRow::new(artifact, &head.api))
            .collect(),
        log: last_lines(&log, LOG_LINES).to_owned(),
        no_log: nothing_printed(&job),
        diff,
        no_diff: why_missing(&job),
        head,
        frame,
    };
    Ok(html(StatusCode::OK, &page))
}

/// What stands where the log would be.
fn nothing_printed(job: &Job) -> &'static str {
    if job.state().is_finished() {
        "Nothing was printed."
    } else {
        "Nothing was printed yet."
    }
}

/// All events in order, as far as a page can reasonably read them.
async fn latest_events(app: &App, job: &Job) -> Result<Vec<JobEvent>, StoreError> {
    let mut events: Vec<JobEvent> = Vec::new();
    for _ in 0..EVENT_READS {
        let after = events.last().map_or(0, |event| event.seq);
        let read = app
            .ports
            .jobs
            .events(job.tenant, job.id, after, EVENTS_A_READ)
            .await?
            .unwrap_or_default();
        let more = read.len() == EVENTS_A_READ as usize;
        events.extend(read);
        if !more {
            break;
        }
    }
    Ok(events)
}

async fn diff_of(
    app: &App,
    tenant: TenantId,
    artifacts: &[Artifact],
) -> Result<Option<DiffView>, Problem> {
    match latest_diff(artifacts.to_vec()) {
        Some(artifact) => DiffView::read(&*app.ports.blobs, tenant, &artifact).await,
        None => Ok(None),
    }
}

impl Head {
    fn of(job: &Job) -> Self {
        let state = job.state();
        let base = OfKind(Some(job.kind())).base();
        let progress = job.progress.as_ref();
        Self {
            api: format!("{base}/{}", job.id),
            id: job.id.to_string(),
            is_session: job.kind() == JobKind::Session,
            title: job.title.clone(),
            kind: job.kind().as_str(),
            state: state.as_str(),
            state_words: state_words(state),
            glyph: glyph(state),
            tags: job.tags.clone(),
            percent: progress
                .and_then(|progress| progress.fraction)
                .filter(|_| state.holds_slot())
                .map(percent),
            progress: progress
                .and_then(|progress| progress.message.clone())
                .filter(|_| state.holds_slot()),
        }
    }
}

fn facts(job: &Job, now: Timestamp) -> Vec<Fact> {
    let plain = |text: String| Span {
        text,
        since_ms: None,
    };
    let at = |at: Option<Timestamp>| at.map_or_else(Span::none, |at| plain(instant(at)));
    let times = Times::of(job, now);
    let worker = job.status.claim().map(|claim| claim.worker.to_string());
    let limit = chrono::TimeDelta::seconds(job.max_duration_seconds.into());
    let mut facts = vec![
        ("age", Span::going_on(job.created_at, now)),
        ("waited", times.wait),
        ("ran", times.run),
        ("runs", plain(job.attempt.to_string())),
        (
            "failures",
            plain(format!("{} of {}", job.failures, job.max_attempts)),
        ),
        ("priority", plain(job.priority.to_string())),
        ("limit of a run", plain(super::words::span(limit))),
        ("created (UTC)", at(Some(job.created_at))),
        ("started (UTC)", at(job.started_at)),
        ("finished (UTC)", at(job.finished_at)),
    ];
    facts.extend(
        job.run_after
            .map(|after| ("not before (UTC)", plain(instant(after)))),
    );
    facts.extend(worker.map(|worker| ("worker", plain(worker))));
    facts.extend(
        job.parent
            .map(|parent| ("parent", plain(parent.to_string()))),
    );
    if job.state().holds_slot() && job.stop_requested_at.is_some() {
        facts.push(("asked to stop (UTC)", at(job.stop_requested_at)));
    }
    facts
        .into_iter()
        .map(|(name, value)| Fact { name, value })
        .collect()
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

impl From<JobEvent> for EventRow {
    fn from(event: JobEvent) -> Self {
        Self {
            seq: event.seq,
            at: instant(event.at),
            kind: event.kind.as_str().replace('_', " "),
            attempt: event.attempt,
            data: in_words(&event.data),
        }
    }
}

/// What an event carries, as `name value` pairs; an error as it reads everywhere else.
fn in_words(data: &Map<String, Value>) -> String {
    let pairs = data.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name} {text}"),
        Value::Object(error) if name == "error" => {
            let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or("");
            format!("{}: {}", part("code"), part("message"))
        }
        other => format!("{name} {other}"),
    });
    pairs.collect::<Vec<String>>().join(", ")
}

impl AttemptRow {
    fn new(attempt: Attempt, now: Timestamp) -> Self {
        Self {
            number: attempt.number,
            outcome: attempt
                .outcome
                .map_or_else(|| "running".to_owned(), |it| it.as_str().replace('_', " ")),
            started: instant(attempt.started_at),
            took: attempt.finished_at.map_or_else(
                || Span::going_on(attempt.started_at, now),
                |finished| Span::between(attempt.started_at, finished),
            ),
            worker: attempt.worker.to_string(),
            error: attempt.error.map(|error| error.to_string()),
        }
    }
}

impl ArtifactRow {
    fn new(artifact: Artifact, api: &str) -> Self {
        Self {
            href: format!("{api}/artifacts/{}", artifact.id),
            name: artifact.name,
            attempt: artifact.attempt,
            size: bytes(artifact.bytes),
        }
    }
}
