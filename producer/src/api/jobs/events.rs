use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use utoipa::IntoParams;

use super::OfKind;
use crate::auth::Allowed;
use crate::auth::permit::ReadJobs;
use crate::dto::event::EventBody;
use crate::path::JobPath;
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, OfJob, Queried};
use crate::sse::{Watch, job_events, respond};
use crate::state::App;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters")]
struct EventParams {
    /// Only events after this `seq`; 0, the default, for all.
    after: Option<i64>,
}

/// Watch a job
///
/// All events of the job from the first, then each new one as it happens (`id`: its `seq`, `event`: its `kind`, `data`:
/// JSON). After a drop, hand the last `id` back as `Last-Event-ID` (browsers do) or `?after=`: nothing is lost or told
/// twice. The stream ends by itself after the event that ends the job.
#[utoipa::path(
    get,
    path = "/{id}/events",
    params(
        ("id" = Uuid, Path, description = "The job's id."),
        ("Last-Event-ID" = Option<i64>, Header, description = "The same as `after`; wins over it."),
        EventParams,
    ),
    responses(
        (status = 200, description = "The events.", body = EventBody, content_type = "text/event-stream"),
        (status = 204, description = "The job is over and has no events after the given one: do not reconnect."),
        Guarded, OfJob, Queried,
    ),
)]
pub(super) async fn events(
    State(app): State<App>,
    of_kind: OfKind,
    caller: Allowed<ReadJobs>,
    JobPath(id): JobPath,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let tenant = caller.tenant;
    let after = query.number("after", 0, i64::MAX).unwrap_or(0);
    query.finish()?;
    let after = match headers.get(LAST_EVENT_ID) {
        Some(value) => last_event_id(value.to_str().unwrap_or(""))?,
        None => after,
    };
    let watch = Watch::start(&app, tenant, id).await?;
    let job = of_kind.find(&app, tenant, id).await?;
    let finished = job.state().is_finished();
    if finished && after > 0 {
        let rest = app.ports.jobs.events(tenant, id, after, 1).await?;
        if rest.is_none_or(|events| events.is_empty()) {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
    Ok(respond(job_events(watch, tenant, after, finished)).into_response())
}

fn last_event_id(text: &str) -> Result<i64, Problem> {
    // Browsers send an empty one before the first event.
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().ok().filter(|seq| *seq >= 0).ok_or_else(|| {
        let detail = "the header must be the `id` of an event of this stream";
        Problem::invalid_at("/Last-Event-ID", detail)
    })
}
