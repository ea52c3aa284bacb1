//! CLAIM: visits that end at the same time share one transaction, whatever their tenants.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use application::batch::{BatchLimits, Batcher};
use application::ports::{ClaimRequest, Claimed, LeaseError, Ports, Signal};
use application::use_cases::Dispatcher;
use domain::{Job, QueueKey, SlotSnapshot, Timestamp, WorkerRef};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use telemetry::Metrics;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::stranded::UnderWay;

const LIMITS: BatchLimits = BatchLimits {
    weight: 500,
    waiting: 1_000,
    // A second transaction gathers while the first waits for its commit.
    in_flight: 1,
};

/// Nothing was claimed; the reason is logged already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotClaimed;

/// What came of one request.
pub(crate) struct Share {
    /// Now this worker's to run.
    pub jobs: Vec<Job>,
    /// Ends when the ready set and the watchers know of the claim. No run waits for that.
    pub told: Told,
}

pub(crate) type Told = Shared<BoxFuture<'static, ()>>;

pub(crate) struct Claims {
    under_way: Arc<UnderWay>,
    batcher: Batcher<ClaimRequest, Result<Share, NotClaimed>>,
}

struct Claiming {
    ports: Ports,
    dispatcher: Dispatcher,
    metrics: Arc<Metrics>,
    me: WorkerRef,
    over: CancellationToken,
    relay_nudge: Arc<Notify>,
    under_way: Arc<UnderWay>,
    /// Nobody leaves before all is told.
    runs: TaskTracker,
}

impl Claims {
    pub fn start(
        ports: &Ports,
        dispatcher: &Dispatcher,
        metrics: &Arc<Metrics>,
        me: WorkerRef,
        over: &CancellationToken,
        relay_nudge: &Arc<Notify>,
        runs: &TaskTracker,
    ) -> Self {
        let under_way = Arc::new(UnderWay::default());
        let claiming = Arc::new(Claiming {
            under_way: Arc::clone(&under_way),
            ports: ports.clone(),
            dispatcher: dispatcher.clone(),
            metrics: Arc::clone(metrics),
            me,
            over: over.clone(),
            relay_nudge: Arc::clone(relay_nudge),
            runs: runs.clone(),
        });
        let batcher = Batcher::start(LIMITS, wanted, move |requests| {
            let claiming = Arc::clone(&claiming);
            claiming.claim(requests)
        });
        Self { under_way, batcher }
    }

    /// Claims whose answer is not there yet.
    pub fn under_way(&self) -> &UnderWay {
        &self.under_way
    }

    pub async fn claim(&self, request: ClaimRequest) -> Result<Share, NotClaimed> {
        self.batcher.call(request).await.unwrap_or(Err(NotClaimed))
    }
}

impl Claiming {
    async fn claim(self: Arc<Self>, requests: Vec<ClaimRequest>) -> Vec<Result<Share, NotClaimed>> {
        let now = self.ports.clock.now();
        let began = Instant::now();
        let answer = {
            let _under_way = self.under_way.begin();
            let engine = &self.ports.engine;
            engine.claim(self.me, requests.clone(), now).await
        };
        match answer {
            Ok(claimed) => {
                self.metrics
                    .claim_seconds
                    .observe(began.elapsed().as_secs_f64());
                self.observe(&requests, &claimed, now);
                let signals = signals(&claimed.jobs);
                let runs = self.runs.clone();
                let tell = async move { self.tell(&claimed.slots, signals).await };
                let told = tell.boxed().shared();
                runs.spawn(told.clone());
                let shares = share(&requests, claimed.jobs).into_iter();
                let with_told = |jobs| Share {
                    jobs,
                    told: told.clone(),
                };
                shares.map(with_told).map(Ok).collect()
            }
            Err(error) => {
                self.complain(&error);
                requests.iter().map(|_| Err(NotClaimed)).collect()
            }
        }
    }

    fn observe(&self, requests: &[ClaimRequest], claimed: &Claimed, now: Timestamp) {
        let metrics = &self.metrics;
        #[expect(clippy::cast_precision_loss, reason = "a batch has some hundred jobs")]
        metrics.claim_batch_size.observe(claimed.jobs.len() as f64);
        let wakeups: u64 = requests.iter().map(|it| u64::from(it.wakeups)).sum();
        let plain = claimed.jobs.iter().filter(|job| job.requires.is_empty());
        metrics
            .wakeups_in_vain_total
            .inc_by(wakeups.saturating_sub(plain.count() as u64));
        for job in &claimed.jobs {
            let due = job.queued_at.max(job.run_after).unwrap_or(job.created_at);
            let waited = (now - due).to_std().unwrap_or_default();
            metrics
                .job_wait_seconds
                .with_label_values(&[job.kind().as_str()])
                .observe(waited.as_secs_f64());
        }
    }

    async fn tell(&self, slots: &[SlotSnapshot], signals: Vec<Signal>) {
        if wants_relay(slots) {
            self.relay_nudge.notify_one();
        }
        tokio::join!(self.dispatcher.note(slots), self.dispatcher.signal(signals));
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

pub(crate) fn signals(jobs: &[Job]) -> Vec<Signal> {
    let changed = |job: &Job| Signal::JobChanged {
        tenant: job.tenant,
        job: job.id,
    };
    jobs.iter().map(changed).collect()
}

fn wanted(request: &ClaimRequest) -> usize {
    request.wakeups as usize + request.labelled as usize
}

/// Deals the claimed jobs of each queue out to those who asked for some of it, to none more than it asked for.
fn share(requests: &[ClaimRequest], jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let mut plain: HashMap<QueueKey, VecDeque<Job>> = HashMap::new();
    let mut labelled: HashMap<QueueKey, VecDeque<Job>> = HashMap::new();
    for job in jobs {
        let of = if job.requires.is_empty() {
            &mut plain
        } else {
            &mut labelled
        };
        of.entry(job.queue()).or_default().push_back(job);
    }
    let deal = |of: &mut HashMap<QueueKey, VecDeque<Job>>, queue: QueueKey, n: u32| {
        let Some(jobs) = of.get_mut(&queue) else {
            return Vec::new();
        };
        let n = jobs.len().min(n as usize);
        jobs.drain(..n).collect::<Vec<Job>>()
    };
    requests
        .iter()
        .map(|request| {
            let mut share = deal(&mut plain, request.queue, request.wakeups);
            share.extend(deal(&mut labelled, request.queue, request.labelled));
            share
        })
        .collect()
}

/// True when a queue has due jobs that the broker could be given wake-ups for.
pub(crate) fn wants_relay(slots: &[SlotSnapshot]) -> bool {
    slots.iter().any(|slots| slots.to_relay() > 0)
}
