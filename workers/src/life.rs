//! One life of a worker: from its registration to its release, or to the loss of its lease, after which the process
//! begins another life under a new id.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{NewWorker, Ports, StoreError};
use application::use_cases::Dispatcher;
use domain::{WorkerId, WorkerRef};
use telemetry::Metrics;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::claim::Claims;
use crate::config::{Tools, WorkerConfig};
use crate::drain::drain;
use crate::finish::Finishes;
use crate::lease::LeaseEnd;
use crate::running::Running;
use crate::write::Writes;
use crate::{
    claim_loop, expire, labelled, lease, month, probe, promote, reap, reconcile, relay, release,
    replay, routed, schedule,
};

/// Between tries to register while the store cannot be reached.
const REGISTER_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("the worker needs at least one kind of job and a concurrency of at least 1")]
    NothingToDo,
    #[error("the worker could not leave properly; its jobs are taken back after its lease: {0}")]
    Release(StoreError),
}

/// What all parts of a worker share during one life.
pub(crate) struct Worker {
    pub ports: Ports,
    pub tools: Arc<Tools>,
    pub metrics: Arc<Metrics>,
    pub config: Arc<WorkerConfig>,
    pub me: WorkerRef,
    pub lease_end: LeaseEnd,
    pub dispatcher: Dispatcher,
    pub running: Running,
    pub slots: Arc<Semaphore>,
    pub claims: Claims,
    pub writes: Writes,
    pub finishes: Finishes,
    pub relay_nudge: Arc<Notify>,
    pub release_nudge: Arc<Notify>,
    /// No more jobs are taken.
    pub draining: CancellationToken,
    /// The life is over: lease lost, or everything handed over.
    pub over: CancellationToken,
    /// Runs, so that their end can be waited for.
    pub runs: TaskTracker,
}

/// Works until `leave` is cancelled and everything is finished or handed back.
pub async fn run(
    ports: Ports,
    tools: Tools,
    metrics: Arc<Metrics>,
    config: WorkerConfig,
    leave: CancellationToken,
) -> Result<(), WorkerError> {
    if config.kinds.is_empty() || config.concurrency == 0 {
        return Err(WorkerError::NothingToDo);
    }
    let tools = Arc::new(tools);
    let labels = config.labels.without_agent();
    let config = Arc::new(WorkerConfig { labels, ..config });
    metrics.worker_slots.set(config.concurrency.into());
    loop {
        let begun = Instant::now();
        let Some(me) = register(&ports, &config, &leave).await else {
            return Ok(());
        };
        tracing::info!(worker = %me.id, concurrency = config.concurrency, "worker registered");
        let worker = Arc::new(Worker::new(
            &ports,
            &tools,
            &metrics,
            &config,
            (me, begun),
            &leave,
        ));
        live(&worker, begun).await;
        if leave.is_cancelled() {
            return release(&worker).await;
        }
        metrics.lease_lost_total.inc();
        tracing::error!(worker = %me.id, "lease lost; all its runs were ended, and a new life begins");
    }
}

impl Worker {
    fn new(
        ports: &Ports,
        tools: &Arc<Tools>,
        metrics: &Arc<Metrics>,
        config: &Arc<WorkerConfig>,
        (me, begun): (WorkerRef, Instant),
        leave: &CancellationToken,
    ) -> Self {
        let dispatcher = Dispatcher::new(ports.clone());
        let running = Running::default();
        let over = CancellationToken::new();
        let relay_nudge = Arc::new(Notify::new());
        let release_nudge = Arc::new(Notify::new());
        let runs = TaskTracker::new();
        Self {
            claims: Claims::start(ports, &dispatcher, metrics, me, &over, &relay_nudge, &runs),
            writes: Writes::start(ports, &dispatcher, metrics, me),
            finishes: Finishes::start(
                ports,
                &dispatcher,
                metrics,
                me,
                &relay_nudge,
                &release_nudge,
                &runs,
            ),
            ports: ports.clone(),
            tools: Arc::clone(tools),
            metrics: Arc::clone(metrics),
            config: Arc::clone(config),
            me,
            lease_end: LeaseEnd::new(begun + config.lease),
            dispatcher,
            running,
            slots: Arc::new(Semaphore::new(config.concurrency as usize)),
            relay_nudge,
            release_nudge,
            draining: leave.child_token(),
            over,
            runs,
        }
    }
}

/// Runs all parts until the lease is lost or the worker is drained.
async fn live(worker: &Arc<Worker>, begun: Instant) {
    let parts = TaskTracker::new();
    parts.spawn(lease::keep(Arc::clone(worker), begun));
    parts.spawn(lease::listen(Arc::clone(worker)));
    parts.spawn(claim_loop::claim_loop(Arc::clone(worker)));
    parts.spawn(labelled::labelled_loop(Arc::clone(worker)));
    parts.spawn(routed::routed_loop(Arc::clone(worker)));
    parts.spawn(relay::relay_loop(Arc::clone(worker)));
    parts.spawn(promote::promote_loop(Arc::clone(worker)));
    parts.spawn(release::release_loop(Arc::clone(worker)));
    parts.spawn(replay::replay_loop(Arc::clone(worker)));
    parts.spawn(expire::expire_loop(Arc::clone(worker)));
    parts.spawn(probe::probe_loop(Arc::clone(worker)));
    parts.spawn(month::month_loop(Arc::clone(worker)));
    parts.spawn(schedule::schedule_loop(Arc::clone(worker)));
    parts.spawn(reap::reap_loop(Arc::clone(worker)));
    parts.spawn(reconcile::reconcile_loop(Arc::clone(worker)));
    tokio::select! {
        biased;
        () = worker.over.cancelled() => {}
        () = drain(worker) => {}
    }
    // Ends whatever is left: nothing after a drain, everything after a lost lease.
    worker.running.end_all();
    worker.runs.close();
    worker.runs.wait().await;
    worker.over.cancel();
    parts.close();
    parts.wait().await;
}

async fn register(
    ports: &Ports,
    config: &WorkerConfig,
    leave: &CancellationToken,
) -> Option<WorkerRef> {
    loop {
        let now = ports.clock.now();
        let new = NewWorker {
            id: WorkerId::from_uuid(ports.ids.next(now)),
            host: config.host.clone(),
            kinds: config.kinds.clone(),
            labels: config.labels.clone(),
            capacity: config.concurrency,
        };
        match ports
            .engine
            .register_worker(new, now + config.lease, now)
            .await
        {
            Ok(me) => return Some(me),
            Err(error) => tracing::error!(%error, "the worker cannot register; trying again"),
        }
        tokio::select! {
            biased;
            () = leave.cancelled() => return None,
            () = tokio::time::sleep(REGISTER_RETRY) => {}
        }
    }
}

async fn release(worker: &Worker) -> Result<(), WorkerError> {
    let now = worker.ports.clock.now();
    let released = worker.ports.engine.release_worker(worker.me, now).await;
    if released.is_ok() {
        tracing::info!(worker = %worker.me.id, "worker released");
    }
    released.map_err(WorkerError::Release)
}
