//! Who is in the world: the producer, the workers, the tenants, and the services between them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::Ports;
use application::use_cases::{Submitter, create_tenant};
use domain::{JobKind, Labels, MonthlyLimits, NewTenant, Quotas, TenantId};
use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workers::{Tools, WorkerConfig};

use crate::agent::Worker;
use crate::model::Broken;
use crate::plan::{DRAIN, GRACE, LEASE, PROMOTE_EVERY, RECONCILE_EVERY, SILENCE};
use crate::ports::{Folders, Services};
use crate::process::Process;
use crate::world::World;

const CONCURRENCY_MAX: u32 = 5;
const QUOTA_MAX: u32 = 4;
const WEIGHT_MAX: u32 = 4;
const LOG_LIMIT: u64 = 1024;

/// What workers may have and jobs may ask for.
const LABELS: [(&str, &str); 2] = [("gpu", "h100"), ("region", "eu")];

pub struct Stage {
    pub world: Arc<World>,
    pub services: Arc<Services>,
    cast: Mutex<Cast>,
}

#[derive(Default)]
struct Cast {
    workers: Vec<Crew>,
    producer: Option<Producer>,
    tenants: Vec<TenantId>,
    started: usize,
}

/// A worker's process and what holds it.
#[derive(Clone)]
pub struct Crew {
    pub process: Arc<Process>,
    pub leave: CancellationToken,
    pub kinds: Vec<JobKind>,
    pub labels: Labels,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

#[derive(Clone)]
pub struct Producer {
    pub process: Arc<Process>,
    pub ports: Ports,
    pub submitter: Submitter,
}

impl Stage {
    pub fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world,
            services: Services::start(),
            cast: Mutex::default(),
        })
    }

    fn cast(&self) -> MutexGuard<'_, Cast> {
        self.cast.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_name(&self, letter: char) -> String {
        let mut cast = self.cast();
        cast.started += 1;
        format!("{letter}{}", cast.started)
    }

    /// The present producer; a new one when the last is dead.
    pub fn producer(&self) -> Producer {
        if let Some(producer) = self.cast().producer.clone().filter(|it| it.process.is_up()) {
            return producer;
        }
        let process = Process::start(&self.world, self.next_name('p'));
        let ports = self.services.ports_of(&process);
        let submitter = Submitter::new(ports.clone());
        let producer = Producer {
            process,
            ports,
            submitter,
        };
        self.cast().producer = Some(producer.clone());
        producer
    }

    pub fn tenants(&self) -> Vec<TenantId> {
        self.cast().tenants.clone()
    }

    pub fn workers(&self) -> Vec<Crew> {
        self.cast().workers.clone()
    }

    pub async fn found_tenant(&self, number: usize) -> Result<(), Broken> {
        let dice = |max| self.world.dice(|dice| dice.u32(1..=max));
        let quotas = Quotas {
            session: dice(QUOTA_MAX),
            training: dice(QUOTA_MAX),
        };
        self.found(number, quotas, dice(WEIGHT_MAX)).await
    }

    pub async fn found(&self, number: usize, quotas: Quotas, weight: u32) -> Result<(), Broken> {
        let new = NewTenant {
            slug: format!("tenant-{number}"),
            name: format!("Tenant {number}"),
            quotas,
            max_queued: NewTenant::DEFAULT_MAX_QUEUED,
            weight,
            monthly: MonthlyLimits::default(),
        };
        let tenant = create_tenant(&self.producer().ports, new).await;
        let tenant =
            tenant.map_err(|error| Broken::new("a tenant can be made", error.to_string()))?;
        self.cast().tenants.push(tenant.id);
        Ok(())
    }

    /// A worker with seeded size; a versatile one takes every job.
    pub fn start_worker(&self, versatile: bool) {
        let kinds = if versatile || self.world.dice(|dice| dice.u8(..3) > 0) {
            JobKind::ALL.to_vec()
        } else {
            vec![JobKind::Session]
        };
        let concurrency = self.world.dice(|dice| dice.u32(1..=CONCURRENCY_MAX));
        let labels = if versatile {
            all_labels()
        } else {
            self.world.dice(some_labels)
        };
        self.start_worker_of(kinds, concurrency, labels);
    }

    pub fn start_worker_of(&self, kinds: Vec<JobKind>, concurrency: u32, labels: Labels) {
        let process = Process::start(&self.world, self.next_name('w'));
        let config = WorkerConfig {
            host: process.name.clone(),
            kinds: kinds.clone(),
            labels: labels.clone(),
            concurrency,
            lease: LEASE,
            grace: GRACE,
            drain: DRAIN,
            log_limit_bytes: LOG_LIMIT,
            relay_every: self.world.plan.relay_every,
            reconcile_every: RECONCILE_EVERY,
            promote_every: PROMOTE_EVERY,
            silence: SILENCE,
        };
        let tools = Tools {
            agents: vec![Arc::new(Worker(Arc::clone(&process)))],
            trainers: vec![Arc::new(Worker(Arc::clone(&process)))],
            workspaces: Arc::new(Folders),
            probe: None,
        };
        let leave = CancellationToken::new();
        let ports = self.services.ports_of(&process);
        let metrics = Arc::clone(&self.world.metrics);
        let life = workers::run(ports, tools, metrics, config, leave.clone());
        let left = Arc::clone(&process);
        let task = tokio::spawn(async move {
            let ended = life.await;
            left.world.note(&[&left.name, "left"], || {
                format!("{} left: {ended:?}", left.name)
            });
        });
        self.cast().workers.push(Crew {
            process,
            leave,
            kinds,
            labels,
            task: Arc::new(Mutex::new(Some(task))),
        });
    }
}

impl Crew {
    /// It takes every job that there is.
    pub fn is_versatile(&self) -> bool {
        self.kinds.len() == JobKind::ALL.len() && self.labels == all_labels()
    }

    /// Up, and not about to leave.
    pub fn stays(&self) -> bool {
        self.process.is_up() && !self.leave.is_cancelled()
    }

    /// As by `kill -9`.
    pub fn kill(&self) {
        self.process.kill();
        if let Some(task) = &*self.task() {
            task.abort();
        }
    }

    /// True when it has left within this time.
    pub async fn has_left(&self, within: Duration) -> bool {
        let task = self.task().take();
        match task {
            Some(task) => tokio::time::timeout(within, task).await.is_ok(),
            None => true,
        }
    }

    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn all_labels() -> Labels {
    let labels = LABELS.iter();
    Labels(
        labels
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

/// Each by chance; none often enough.
pub fn some_labels(rng: &mut Rng) -> Labels {
    let mut labels = all_labels();
    labels.0.retain(|_, _| rng.bool());
    labels
}
