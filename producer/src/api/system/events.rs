use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use application::ports::{Signal, SignalStream};
use axum::extract::State;
use axum::response::sse::Event;
use axum::response::{IntoResponse as _, Response};
use domain::Permit;
use futures::StreamExt as _;
use futures::stream;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::problem::Problem;
use crate::query::Query;
use crate::responses::{Guarded, Queried};
use crate::sse::{RECONNECT, StreamSlot, gather, respond, subscribe};
use crate::state::App;

/// Signals within this time are told once: a busy tenant must not flood its watchers.
const GATHER: Duration = Duration::from_millis(250);
const GATHERED_MAX: usize = 1_000;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters")]
struct WatchParams {
    /// The same as `X-Tenant-ID`, for browsers, whose event streams cannot send headers.
    tenant: Option<String>,
}

/// Watch a tenant
///
/// Hints about which jobs changed (`event: job_changed`, `data: {"job": "<id>"}`) or printed something (`log_written`);
/// `missed` says that some hints were lost, so anything may have changed. Hints are not stored and cannot be resumed:
/// read what they are about. To follow one job without loss, use its own events.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "System",
    params(WatchParams),
    responses(
        (status = 200, description = "The hints.", body = String, content_type = "text/event-stream"),
        Guarded, Queried,
    ),
)]
pub(super) async fn watch_tenant(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, Problem> {
    let named = query.text("tenant");
    query.finish()?;
    let caller = match named {
        Some(named) => caller.acting_for(&app, &named).await?,
        None => caller,
    };
    let tenant = caller.may(Permit::ReadJobs)?;
    let slot = StreamSlot::take(&app)?;
    let hints = Hints {
        signals: subscribe(&app, tenant).await,
        app,
        _slot: slot,
    };
    let hello =
        stream::once(async { Ok(Event::default().event("hello").data("{}").retry(RECONNECT)) });
    let told = stream::unfold(hints, |mut hints| async move {
        let events = hints.next().await?;
        Some((stream::iter(events), hints))
    });
    Ok(respond(hello.chain(told.flatten()).boxed()).into_response())
}

struct Hints {
    app: App,
    signals: SignalStream,
    _slot: StreamSlot,
}

impl Hints {
    async fn next(&mut self) -> Option<Vec<Result<Event, Infallible>>> {
        let signals = gather(&self.app, &mut self.signals, GATHER, GATHERED_MAX).await?;
        let told: BTreeSet<(&str, String)> = signals.iter().filter_map(hint).collect();
        let event = |(name, data): (&str, String)| Ok(Event::default().event(name).data(data));
        Some(told.into_iter().map(event).collect())
    }
}

fn hint(signal: &Signal) -> Option<(&'static str, String)> {
    let about = |job| format!("{{\"job\":\"{job}\"}}");
    match signal {
        Signal::JobChanged { job, .. } => Some(("job_changed", about(job))),
        Signal::LogWritten { job, .. } => Some(("log_written", about(job))),
        Signal::Missed => Some(("missed", "{}".to_owned())),
        Signal::StopRequested { .. } | Signal::PauseRequested { .. } => None,
    }
}
