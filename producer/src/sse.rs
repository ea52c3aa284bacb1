//! The live parts of the API: what wakes a stream, what bounds it, what ends it.
//!
//! A stream reads from the store and nothing else; signals of the event bus only tell it when to look. A lost signal,
//! or a bus that is down, therefore costs one slow poll and never an event.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use application::ports::{Interest, Signal, SignalStream, StoreError};
use axum::response::sse::{Event, KeepAlive, Sse};
use domain::{EventKind, JobEvent, JobId, TenantId};
use futures::future::{Either, select};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use telemetry::Metrics;
use tokio::sync::OwnedSemaphorePermit;

use crate::dto::event::EventBody;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::state::App;

/// Comments between events, so that proxies and clients see that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back.
pub(crate) const RECONNECT: Duration = Duration::from_secs(2);
/// Events read from the store at once.
pub(crate) const EVENTS_A_READ: u32 = 200;

pub(crate) type Events = BoxStream<'static, Result<Event, Infallible>>;

pub(crate) fn respond(events: Events) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// A place among the open streams, given back when dropped.
pub(crate) struct StreamSlot {
    _permit: OwnedSemaphorePermit,
    metrics: std::sync::Arc<Metrics>,
}

impl StreamSlot {
    pub fn take(app: &App) -> Result<Self, Problem> {
        let permit = std::sync::Arc::clone(&app.streams).try_acquire_owned();
        let permit = permit.map_err(|_| {
            let detail =
                "The server holds as many streams as it may. Try again in a moment, or poll.";
            Problem::new(&kinds::TOO_MANY_STREAMS, detail)
                .header(axum::http::header::RETRY_AFTER, "5")
        })?;
        app.metrics.event_stream_clients.inc();
        Ok(Self {
            _permit: permit,
            metrics: app.metrics.clone(),
        })
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.metrics.event_stream_clients.dec();
    }
}

/// What a waiting stream was woken by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Signal,
    Poll,
    Draining,
}

/// Wakes a stream that watches one job.
pub(crate) struct Watch {
    app: App,
    job: JobId,
    signals: SignalStream,
    _slot: StreamSlot,
}

impl Watch {
    /// Subscribes before the caller's first read, so that nothing falls between the two.
    pub async fn start(app: &App, tenant: TenantId, job: JobId) -> Result<Self, Problem> {
        let slot = StreamSlot::take(app)?;
        Ok(Self {
            signals: subscribe(app, tenant).await,
            app: app.clone(),
            job,
            _slot: slot,
        })
    }

    /// Waits for a signal about the job, the next poll or the end of the process.
    pub async fn wait(&mut self) -> Woken {
        let job = self.job;
        let about = |signal: &Signal| match signal {
            Signal::JobChanged { job: it, .. } | Signal::LogWritten { job: it, .. } => *it == job,
            Signal::Missed => true,
            Signal::StopRequested { .. } | Signal::PauseRequested { .. } => false,
        };
        let signals = &mut self.signals;
        let signalled = async {
            while let Some(signal) = signals.next().await {
                if about(&signal) {
                    return;
                }
            }
            // The bus is gone; the poll goes on.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.app.draining.cancelled() => Woken::Draining,
            () = signalled => Woken::Signal,
            () = tokio::time::sleep(self.app.config.stream_poll) => Woken::Poll,
        }
    }
}

/// The tenant's signals; none at all when the bus is down, which polls make up for.
pub(crate) async fn subscribe(app: &App, tenant: TenantId) -> SignalStream {
    match app.ports.bus.subscribe(Interest::Tenant(tenant)).await {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!(%error, "a stream goes on by polling alone");
            stream::pending().boxed()
        }
    }
}

/// The events of one job after `after`, until its end.
pub(crate) fn job_events(watch: Watch, tenant: TenantId, after: i64, finished: bool) -> Events {
    let reader = EventReader {
        watch,
        tenant,
        after,
        seems_over: finished,
        read: VecDeque::new(),
    };
    let hello = stream::once(async { Ok(Event::default().retry(RECONNECT)) });
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(to_sse(event)), reader))
    });
    hello.chain(events).boxed()
}

struct EventReader {
    watch: Watch,
    tenant: TenantId,
    after: i64,
    /// The last event seen is a final one (or the job was finished when the stream began).
    seems_over: bool,
    read: VecDeque<JobEvent>,
}

impl EventReader {
    async fn next(&mut self) -> Option<JobEvent> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                self.seems_over = event.kind.is_final();
                return Some(event);
            }
            match self.read_more().await {
                // The client comes back with the last id it saw, and nothing is lost.
                Err(error) => {
                    tracing::error!(%error, job = %self.watch.job, "an event stream broke off");
                    return None;
                }
                Ok(false) => return None,
                Ok(true) => {}
            }
            if self.read.is_empty() && self.watch.wait().await == Woken::Draining {
                return None;
            }
        }
    }

    /// False when the job is over and everything was told, or the job is gone.
    async fn read_more(&mut self) -> Result<bool, StoreError> {
        let jobs = &self.watch.app.ports.jobs;
        let job = self.watch.job;
        // Looked at before the events: what ended the job is then among them.
        let over = self.seems_over
            && jobs
                .get(self.tenant, job)
                .await?
                .is_none_or(|job| job.state().is_finished());
        let events = jobs
            .events(self.tenant, job, self.after, EVENTS_A_READ)
            .await?;
        let Some(events) = events else {
            return Ok(false);
        };
        self.read = events.into();
        Ok(!(over && self.read.is_empty()))
    }
}

fn to_sse(event: JobEvent) -> Event {
    let id = event.seq.to_string();
    let kind: EventKind = event.kind;
    let data = serde_json::to_string(&EventBody::from(event)).unwrap_or_default();
    Event::default().id(id).event(kind.as_str()).data(data)
}

/// Signals that come within `window` of the first, `None` when the process drains; at most `most` of them.
pub(crate) async fn gather(
    app: &App,
    signals: &mut SignalStream,
    window: Duration,
    most: usize,
) -> Option<Vec<Signal>> {
    let first = {
        let draining = pin!(app.draining.cancelled());
        match select(draining, signals.next()).await {
            Either::Left(_) => return None,
            Either::Right((signal, _)) => signal?,
        }
    };
    let mut gathered = vec![first];
    let until = tokio::time::Instant::now() + window;
    while gathered.len() < most {
        match tokio::time::timeout_at(until, signals.next()).await {
            Ok(Some(signal)) => gathered.push(signal),
            Ok(None) | Err(_) => break,
        }
    }
    Some(gathered)
}
