//! CLAIM: visits that end at the same time share one transaction, whatever their tenants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::stranded::Asked;
use application::batch::{BatchLimits, Batcher};
use application::ports::{ClaimRequest, Claimed, LeaseError, Ports, Signal};
use application::use_cases::Dispatcher;
use domain::{Job, JobId, QueueKey, SlotSnapshot, Timestamp, WorkerRef, relay_window};
use telemetry::Metrics;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const LIMITS: BatchLimits = BatchLimits {
    weight: 500,
    waiting: 1_000,
    // A second transaction gathers while the first waits for its commit.
    in_flight: 2,
};

/// Nothing was claimed; the reason is logged already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotClaimed;

pub(crate) struct Claims {
    asked: Arc<Asked>,
    batcher: Batcher<Vec<ClaimRequest>, Result<Vec<Job>, NotClaimed>>,
}

struct Claiming {
    ports: Ports,
    dispatcher: Dispatcher,
    metrics: Arc<Metrics>,
    me: WorkerRef,
    over: CancellationToken,
    relay_nudge: Arc<Notify>,
    asked: Arc<Asked>,
}

impl Claims {
    pub fn start(
        ports: &Ports,
        dispatcher: &Dispatcher,
        metrics: &Arc<Metrics>,
        me: WorkerRef,
        over: &CancellationToken,
        relay_nudge: &Arc<Notify>,
    ) -> Self {
        let asked = Arc::new(Asked::default());
        let claiming = Arc::new(Claiming {
            asked: Arc::clone(&asked),
            ports: ports.clone(),
            dispatcher: dispatcher.clone(),
            metrics: Arc::clone(metrics),
            me,
            over: over.clone(),
            relay_nudge: Arc::clone(relay_nudge),
        });
        let batcher = Batcher::start(LIMITS, Vec::len, move |visits| {
            let claiming = Arc::clone(&claiming);
            async move { claiming.claim(visits).await }
        });
        Self { asked, batcher }
    }

    /// What claims under way ask for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The jobs that now are this worker's to run.
    pub async fn claim(&self, requests: Vec<ClaimRequest>) -> Result<Vec<Job>, NotClaimed> {
        self.batcher.call(requests).await.unwrap_or(Err(NotClaimed))
    }
}

impl Claiming {
    async fn claim(&self, visits: Vec<Vec<ClaimRequest>>) -> Vec<Result<Vec<Job>, NotClaimed>> {
        let requests: Vec<ClaimRequest> = visits.iter().flatten().copied().collect();
        let asking = self
            .asked
            .ask(requests.iter().map(|request| request.job).collect());
        let now = self.ports.clock.now();
        let began = Instant::now();
        let answer = self.ports.engine.claim(self.me, requests, now).await;
        drop(asking);
        match answer {
            Ok(claimed) => {
                self.metrics
                    .claim_seconds
                    .observe(began.elapsed().as_secs_f64());
                self.tell(&claimed, now).await;
                share(&visits, claimed.jobs).into_iter().map(Ok).collect()
            }
            Err(error) => {
                self.complain(&error);
                visits.iter().map(|_| Err(NotClaimed)).collect()
            }
        }
    }

    async fn tell(&self, claimed: &Claimed, now: Timestamp) {
        let metrics = &self.metrics;
        #[expect(clippy::cast_precision_loss, reason = "a batch has some hundred jobs")]
        metrics.claim_batch_size.observe(claimed.jobs.len() as f64);
        metrics
            .claims_refused_total
            .inc_by(claimed.refused.len() as u64);
        metrics
            .stale_messages_total
            .inc_by(claimed.gone.len() as u64);
        for job in &claimed.jobs {
            let due = job.queued_at.max(job.run_after).unwrap_or(job.created_at);
            let waited = (now - due).to_std().unwrap_or_default();
            metrics
                .job_wait_seconds
                .with_label_values(&[job.kind().as_str()])
                .observe(waited.as_secs_f64());
        }
        self.dispatcher.note(&claimed.slots).await;
        if wants_relay(&claimed.slots) {
            self.relay_nudge.notify_one();
        }
        let signals = claimed.jobs.iter().map(|job| Signal::JobChanged {
            tenant: job.tenant,
            job: job.id,
        });
        self.dispatcher.signal(signals.collect()).await;
    }

    fn complain(&self, error: &LeaseError) {
        tracing::warn!(%error, "nothing was claimed");
        self.metrics
            .engine_errors_total
            .with_label_values(&["claim"])
            .inc();
        if matches!(error, LeaseError::Lost(_)) {
            self.over.cancel();
        }
    }
}

/// Gives each visit the jobs that it asked for.
fn share(visits: &[Vec<ClaimRequest>], jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let mut by_id: HashMap<(QueueKey, JobId), Job> = jobs
        .into_iter()
        .map(|job| ((job.queue(), job.id), job))
        .collect();
    visits
        .iter()
        .map(|requests| {
            requests
                .iter()
                .filter_map(|request| by_id.remove(&(request.queue, request.job)))
                .collect()
        })
        .collect()
}

/// True when a queue has jobs without a message and room for more messages.
pub(crate) fn wants_relay(slots: &[SlotSnapshot]) -> bool {
    slots
        .iter()
        .any(|slots| slots.queued > slots.published && slots.published < relay_window(slots.quota))
}
