//! FINISH: the ends of runs, batched: result, event and slot in one transaction, then the freed slots are noted.

use std::collections::HashSet;
use std::sync::Arc;

use application::batch::{BatchLimits, Batcher};
use application::ports::{Finish, Ports, Signal};
use application::use_cases::Dispatcher;
use domain::{JobId, WorkerRef};
use telemetry::Metrics;
use tokio::sync::Notify;

use crate::claim::wants_relay;
use crate::write::Written;

const LIMITS: BatchLimits = BatchLimits {
    weight: 500,
    waiting: 1_000,
    in_flight: 2,
};

pub(crate) struct Finishes {
    batcher: Batcher<Finish, Written>,
}

struct Finishing {
    ports: Ports,
    dispatcher: Dispatcher,
    metrics: Arc<Metrics>,
    me: WorkerRef,
    relay_nudge: Arc<Notify>,
}

impl Finishes {
    pub fn start(
        ports: &Ports,
        dispatcher: &Dispatcher,
        metrics: &Arc<Metrics>,
        me: WorkerRef,
        relay_nudge: &Arc<Notify>,
    ) -> Self {
        let finishing = Arc::new(Finishing {
            ports: ports.clone(),
            dispatcher: dispatcher.clone(),
            metrics: Arc::clone(metrics),
            me,
            relay_nudge: Arc::clone(relay_nudge),
        });
        let batcher = Batcher::start(
            LIMITS,
            |_| 1,
            move |finishes| {
                let finishing = Arc::clone(&finishing);
                async move { finishing.finish(finishes).await }
            },
        );
        Self { batcher }
    }

    pub async fn finish(&self, finish: Finish) -> Written {
        self.batcher.call(finish).await.unwrap_or(Written::NotNow)
    }
}

impl Finishing {
    async fn finish(&self, ends: Vec<Finish>) -> Vec<Written> {
        let jobs: Vec<JobId> = ends.iter().map(|finish| finish.job).collect();
        let signals = ends.iter().map(|finish| Signal::JobChanged {
            tenant: finish.queue.tenant,
            job: finish.job,
        });
        let signals = signals.collect();
        let now = self.ports.clock.now();
        let done = match self.ports.engine.finish(self.me, ends, now).await {
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
        self.dispatcher.note(&done.slots).await;
        if wants_relay(&done.slots) {
            self.relay_nudge.notify_one();
        }
        self.dispatcher.signal(signals).await;
        let fenced: HashSet<JobId> = done.fenced.into_iter().collect();
        self.metrics.fenced_writes_total.inc_by(fenced.len() as u64);
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
}
