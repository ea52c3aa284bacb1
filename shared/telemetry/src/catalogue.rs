//! Every metric of the product, in one list: a field a metric, its doc comment is the help text.

use std::sync::Arc;

use prometheus::{
    Counter, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Waits and runs: 1 ms to 6 h.
const LONG_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    900.0, 3600.0, 10_800.0, 21_600.0,
];
/// Requests and transactions: 0.5 ms to 10 s.
const SHORT_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Sizes of batches.
const SIZES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];

macro_rules! catalogue {
    ($( #[doc = $help:literal] $name:ident: $kind:ident $(($($argument:expr),*))? ),* $(,)?) => {
        /// The product's metrics, each registered once.
        pub struct Metrics {
            registry: Registry,
            $( #[doc = $help] pub $name: catalogue!(@type $kind), )*
        }

        impl Metrics {
            fn build() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let full = concat!("orchestrator_", stringify!($name));
                    let $name = catalogue!(@make $kind, full, $help.trim() $(, $($argument),*)?)?;
                    registry.register(Box::new($name.clone()))?;
                )*
                Ok(Self { registry, $($name),* })
            }
        }
    };
    (@type counter) => { IntCounter };
    (@type amount) => { Counter };
    (@type counters) => { IntCounterVec };
    (@type gauge) => { IntGauge };
    (@type gauges) => { IntGaugeVec };
    (@type histogram) => { Histogram };
    (@type histograms) => { HistogramVec };
    (@make counter, $name:expr, $help:expr) => { IntCounter::new($name, $help) };
    (@make amount, $name:expr, $help:expr) => { Counter::new($name, $help) };
    (@make counters, $name:expr, $help:expr, $labels:expr) => {
        IntCounterVec::new(Opts::new($name, $help), $labels)
    };
    (@make gauge, $name:expr, $help:expr) => { IntGauge::new($name, $help) };
    (@make gauges, $name:expr, $help:expr, $labels:expr) => {
        IntGaugeVec::new(Opts::new($name, $help), $labels)
    };
    (@make histogram, $name:expr, $help:expr, $buckets:expr) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec()))
    };
    (@make histograms, $name:expr, $help:expr, $buckets:expr, $labels:expr) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), $labels)
    };
}

catalogue! {
    /// HTTP requests answered, by route template.
    http_requests_total: counters(&["route", "method", "code"]),
    /// Time from a request's head to its answer's head, by route template.
    http_request_duration_seconds: histograms(SHORT_SECONDS, &["route", "method"]),
    /// Open event streams.
    event_stream_clients: gauge,

    /// Jobs accepted.
    jobs_submitted_total: counters(&["kind"]),
    /// Submissions refused, by reason.
    quota_refused_total: counters(&["reason"]),

    /// Ticks of schedules that have come, by what they made: a job, or none because it was refused, would overlap or was missed.
    schedule_ticks_total: counters(&["outcome"]),

    /// Jobs claimed in one transaction.
    claim_batch_size: histogram(SIZES),
    /// Time that a claim's transaction took.
    claim_seconds: histogram(SHORT_SECONDS),
    /// Wake-ups that brought no job: doubled ones, those of cancelled jobs, and those that met a full quota or a pause.
    wakeups_in_vain_total: counter,

    /// Time a job waited between being due and starting.
    job_wait_seconds: histograms(LONG_SECONDS, &["kind"]),
    /// Time a run took.
    job_run_seconds: histograms(LONG_SECONDS, &["kind"]),
    /// Runs ended, by outcome.
    attempts_finished_total: counters(&["kind", "outcome"]),
    /// Jobs that reached a final state.
    jobs_finished_total: counters(&["kind", "outcome"]),
    /// Runs that ended with the job queued again.
    job_retries_total: counters(&["kind"]),
    /// Writes refused because the job was not the writer's any more.
    fenced_writes_total: counter,

    /// Tokens that sessions said they used, by direction: input or output.
    session_tokens_total: counters(&["direction"]),
    /// Costs that sessions said they had.
    session_cost_usd_total: amount,
    /// Runs ended because a budget was used up, by whose it was: the session's own, its family's or its tenant's month.
    budgets_exceeded_total: counters(&["budget"]),

    /// Runs that a worker may hold at once.
    worker_slots: gauge,
    /// Runs that this worker holds.
    worker_slots_busy: gauge,
    /// Time that a renewal of the lease took.
    lease_renew_seconds: histogram(SHORT_SECONDS),
    /// Leases that this worker lost.
    lease_lost_total: counter,
    /// Workers that were given up by this process's reaper.
    workers_reaped_total: counter,
    /// Runs that were taken back from workers given up.
    jobs_reaped_total: counter,
    /// External agents asked how they are, by what came of it: `answered` or `missed`.
    agent_probes_total: counters(&["outcome"]),
    /// Things that the reconciler mended, by what.
    reconciler_repairs_total: counters(&["repair"]),
    /// Errors of background work, by the part of the engine.
    engine_errors_total: counters(&["part"]),

    /// Jobs that are queued, for later ones and those that ask for labels too, or run; only from the worker that reconciles.
    queue_jobs: gauges(&["kind", "state"]),
}

impl Metrics {
    /// A fresh set, registered in a registry of its own.
    ///
    /// # Panics
    /// When two metrics of the catalogue have one name: a mistake in this file, seen by its test.
    pub fn new() -> Arc<Self> {
        let metrics = match Self::build() {
            Ok(metrics) => metrics,
            Err(error) => panic!("the metrics catalogue is wrong: {error}"),
        };
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            // Only fails when registered twice, which a fresh registry rules out.
            let _ = metrics.registry.register(Box::new(process));
        }
        Arc::new(metrics)
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String fails for malformed families only, which the catalogue cannot make.
        let _ = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_registers_and_renders() {
        let metrics = Metrics::new();
        metrics
            .jobs_submitted_total
            .with_label_values(&["session"])
            .inc_by(3);
        let text = metrics.render();
        assert!(text.contains("orchestrator_jobs_submitted_total{kind=\"session\"} 3"));
        assert!(
            text.contains(
                "# HELP orchestrator_claim_seconds Time that a claim's transaction took."
            )
        );
    }
}
