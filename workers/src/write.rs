//! WRITE: what runs say between their start and their end, batched across runs and checked against each job's fence.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use application::batch::{BatchLimits, Batcher};
use application::ports::{Ports, Report, Reported, Signal};
use application::use_cases::Dispatcher;
use domain::{JobId, OverBudget, WorkerRef};
use telemetry::Metrics;

const LIMITS: BatchLimits = BatchLimits {
    weight: 500,
    waiting: 1_000,
    in_flight: 1,
};

/// What came of a write.
#[derive(Debug, Clone)]
pub(crate) enum Written {
    Yes,
    /// Written; and what the run draws on is used up, so it has to end.
    Over(OverBudget),
    /// The job is not ours any more; nothing was written.
    Fenced,
    /// The store could not be reached; the same write may be tried again.
    NotNow,
}

pub(crate) struct Writes {
    batcher: Batcher<Report, Written>,
}

impl Writes {
    pub fn start(
        ports: &Ports,
        dispatcher: &Dispatcher,
        metrics: &Arc<Metrics>,
        me: WorkerRef,
    ) -> Self {
        let ports = ports.clone();
        let dispatcher = dispatcher.clone();
        let metrics = Arc::clone(metrics);
        let batcher = Batcher::start(
            LIMITS,
            |_| 1,
            move |reports| {
                let (ports, dispatcher) = (ports.clone(), dispatcher.clone());
                let metrics = Arc::clone(&metrics);
                async move { write(&ports, &dispatcher, &metrics, me, reports).await }
            },
        );
        Self { batcher }
    }

    pub async fn write(&self, report: Report) -> Written {
        self.batcher.call(report).await.unwrap_or(Written::NotNow)
    }
}

async fn write(
    ports: &Ports,
    dispatcher: &Dispatcher,
    metrics: &Metrics,
    me: WorkerRef,
    reports: Vec<Report>,
) -> Vec<Written> {
    let signals: Vec<Signal> = reports.iter().flat_map(signals).collect();
    let jobs: Vec<JobId> = reports.iter().map(|report| report.job).collect();
    let Reported { lost, over } = match ports.engine.report(me, reports, ports.clock.now()).await {
        Ok(reported) => reported,
        Err(error) => {
            tracing::warn!(%error, "reports of runs could not be written");
            metrics
                .engine_errors_total
                .with_label_values(&["write"])
                .inc();
            return jobs.iter().map(|_| Written::NotNow).collect();
        }
    };
    let fenced: HashSet<JobId> = lost.into_iter().collect();
    let over: HashMap<JobId, OverBudget> = over.into_iter().collect();
    metrics.fenced_writes_total.inc_by(fenced.len() as u64);
    dispatcher.signal(signals).await;
    jobs.iter()
        .map(|job| {
            if fenced.contains(job) {
                Written::Fenced
            } else {
                over.get(job).cloned().map_or(Written::Yes, Written::Over)
            }
        })
        .collect()
}

fn signals(report: &Report) -> Vec<Signal> {
    let (tenant, job) = (report.tenant, report.job);
    let mut signals = Vec::new();
    if report.progress.is_some() || !report.checkpoints.is_empty() {
        signals.push(Signal::JobChanged { tenant, job });
    }
    if !report.logs.is_empty() {
        signals.push(Signal::LogWritten { tenant, job });
    }
    signals
}
