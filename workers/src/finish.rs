//! FINISH: the ends of runs, batched: result, event and slot in one transaction, then the freed slots are noted.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use application::batch::{BatchLimits, Batcher};
use application::ports::{Finish, Ports, Served, Signal};
use application::use_cases::Dispatcher;
use domain::{JobId, QueueKey, SlotSnapshot, WorkerRef};
use telemetry::Metrics;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::claim::wants_relay;
use crate::write::Written;

const LIMITS: BatchLimits = BatchLimits {
    weight: 500,
    waiting: 1_000,
    // As for claims.
    in_flight: 1,
};

pub(crate) struct Finishes {
    batcher: Batcher<End, Written>,
}

/// The end of a run.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub finish: Finish,
    /// Worker-seconds that it took beyond what its queue was charged at the pick; negative when it took less.
    pub beyond: f64,
}

struct Finishing {
    ports: Ports,
    dispatcher: Dispatcher,
    metrics: Arc<Metrics>,
    me: WorkerRef,
    relay_nudge: Arc<Notify>,
    release_nudge: Arc<Notify>,
    /// Nobody leaves before all is told.
    runs: TaskTracker,
}

impl Finishes {
    pub fn start(
        ports: &Ports,
        dispatcher: &Dispatcher,
        metrics: &Arc<Metrics>,
        me: WorkerRef,
        relay_nudge: &Arc<Notify>,
        release_nudge: &Arc<Notify>,
        runs: &TaskTracker,
    ) -> Self {
        let finishing = Arc::new(Finishing {
            ports: ports.clone(),
            dispatcher: dispatcher.clone(),
            metrics: Arc::clone(metrics),
            me,
            relay_nudge: Arc::clone(relay_nudge),
            release_nudge: Arc::clone(release_nudge),
            runs: runs.clone(),
        });
        let batcher = Batcher::start(
            LIMITS,
            |_| 1,
            move |ends| {
                let finishing = Arc::clone(&finishing);
                finishing.finish(ends)
            },
        );
        Self { batcher }
    }

    pub async fn finish(&self, end: End) -> Written {
        self.batcher.call(end).await.unwrap_or(Written::NotNow)
    }
}

impl Finishing {
    async fn finish(self: Arc<Self>, ends: Vec<End>) -> Vec<Written> {
        let served = served(&ends);
        let finishes: Vec<Finish> = ends.into_iter().map(|end| end.finish).collect();
        let jobs: Vec<JobId> = finishes.iter().map(|finish| finish.job).collect();
        let signals = finishes.iter().flat_map(signals).collect();
        let now = self.ports.clock.now();
        let done = match self.ports.engine.finish(self.me, finishes, now).await {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(%error, "ends of runs could not be written");
                self.metrics
                    .engine_errors_total
                    .with_label_values(&["finish"])
                    .inc();
                return jobs.iter().map(|_| Written::NotNow).collect();
            }
        };
        let fenced: HashSet<JobId> = done.fenced.into_iter().collect();
        self.metrics.fenced_writes_total.inc_by(fenced.len() as u64);
        if done.to_release {
            self.release_nudge.notify_one();
        }
        // The next ends need not wait for it.
        let runs = self.runs.clone();
        runs.spawn(async move { self.tell(&served, &done.slots, signals).await });
        jobs.iter()
            .map(|job| {
                if fenced.contains(job) {
                    Written::Fenced
                } else {
                    Written::Yes
                }
            })
            .collect()
    }

    async fn tell(&self, served: &[Served], slots: &[SlotSnapshot], signals: Vec<Signal>) {
        if wants_relay(slots) {
            self.relay_nudge.notify_one();
        }
        let charge_and_note = async {
            // Before the slots are noted: a queue that goes idle by them may be forgotten.
            if let Err(error) = self.ports.ready.served(served).await {
                tracing::debug!(%error, "the ready set was not told what runs took; their queues keep the estimate");
            }
            self.dispatcher.note(slots).await;
        };
        tokio::join!(charge_and_note, self.dispatcher.signal(signals));
    }
}

/// By queue.
fn served(ends: &[End]) -> Vec<Served> {
    let mut beyond: BTreeMap<QueueKey, f64> = BTreeMap::new();
    for end in ends {
        *beyond.entry(end.finish.queue).or_default() += end.beyond;
    }
    beyond
        .into_iter()
        .map(|(queue, beyond)| Served { queue, beyond })
        .collect()
}

fn signals(finish: &Finish) -> Vec<Signal> {
    let (tenant, job) = (finish.queue.tenant, finish.job);
    let mut signals = Vec::with_capacity(2);
    if !finish.logs.is_empty() {
        signals.push(Signal::LogWritten { tenant, job });
    }
    signals.push(Signal::JobChanged { tenant, job });
    signals
}
