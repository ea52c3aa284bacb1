//! The real ports, reached through a process: every call may be held, delayed, failed or robbed of its answer.
//!
//! A wrapper adds faults and nothing else. What a method means is the business of the adapter behind it.

mod bus;
mod clock;
mod locks;
mod nothing;
mod people;
mod queue;
mod ready;
mod store;

use std::sync::{Arc, Mutex, PoisonError};

use adapter_embedded::{EmbeddedBus, EmbeddedLocks, EmbeddedQueue, EmbeddedReady};
use application::ports::{Ports, ReadySet as _};
use tokio::sync::watch;

pub use nothing::Folders;

use crate::plan::Calls;
use crate::process::Process;

/// The services that all processes share.
pub struct Services {
    queue: Mutex<Arc<EmbeddedQueue>>,
    ready: Mutex<Ready>,
    locks: EmbeddedLocks,
    bus: EmbeddedBus,
    processes: Mutex<Vec<Arc<Process>>>,
}

struct Ready {
    set: Arc<EmbeddedReady>,
    wakeups: watch::Receiver<u64>,
}

impl Ready {
    fn blank() -> Self {
        let set = Arc::new(EmbeddedReady::default());
        let wakeups = set.wakeups();
        Self { set, wakeups }
    }
}

impl Services {
    pub fn start() -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            ready: Mutex::new(Ready::blank()),
            locks: EmbeddedLocks::default(),
            bus: EmbeddedBus::default(),
            processes: Mutex::default(),
        })
    }

    /// The broker loses all it has, its marker too.
    pub fn wipe_broker(&self) {
        *lock(&self.queue) = Arc::default();
    }

    /// The ready set loses all it has; those who slept on it are not woken.
    pub fn wipe_ready(&self) {
        *lock(&self.ready) = Ready::blank();
    }

    /// All ports as `process` reaches them.
    pub fn ports_of(self: &Arc<Self>, process: &Arc<Process>) -> Ports {
        lock(&self.processes).push(Arc::clone(process));
        let store = Arc::new(store::Store(Arc::clone(process)));
        let reach = Reach {
            services: Arc::clone(self),
            process: Arc::clone(process),
        };
        Ports {
            jobs: store.clone(),
            engine: store.clone(),
            tenants: store.clone(),
            keys: Arc::new(nothing::Nothing),
            agents: Arc::new(nothing::Nothing),
            agent_tasks: Arc::new(nothing::Nothing),
            replays: store.clone(),
            schedules: store,
            queue: Arc::new(queue::Queue(reach.clone())),
            ready: Arc::new(ready::Turns(reach.clone())),
            locks: Arc::new(locks::Line(reach.clone())),
            bus: Arc::new(bus::Bus(reach)),
            blobs: Arc::new(nothing::Nothing),
            clock: Arc::new(clock::SkewedClock(Arc::clone(process))),
            ids: Arc::new(clock::CountedIds(Arc::clone(process))),
        }
    }
}

/// A process's way to the services.
#[derive(Clone)]
struct Reach {
    services: Arc<Services>,
    process: Arc<Process>,
}

impl Reach {
    /// One call of a port that is not the store: `call` does it, `error` says that it was not done.
    async fn call<T, E>(
        &self,
        name: &'static str,
        faults: Calls,
        call: impl AsyncFnOnce() -> Result<T, E>,
        error: fn(String) -> E,
    ) -> Result<T, E> {
        let process = &self.process;
        let world = &process.world;
        let note = |how: &'static str| {
            world.note(&[&process.name, name, how], || {
                format!("{:<4} {name}: {how}", process.name)
            });
        };
        process.pause().await;
        if world.strikes(faults.fail) {
            note("fails");
            return Err(error("the simulation lets it fail".to_owned()));
        }
        let result = call().await;
        note(if result.is_ok() { "done" } else { "refused" });
        let lost = world.strikes(faults.lose_answer);
        process.pause().await;
        if lost {
            return Err(error("the simulation lost the answer".to_owned()));
        }
        result
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
