//! Where worlds are made, one after the other, each from its seed alone.

use std::cell::RefCell;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use telemetry::Metrics;

use crate::database::Database;
use crate::model::Broken;
use crate::plan::Plan;
use crate::stage::Stage;
use crate::world::{Tracing, World};
use crate::{acts, fairness, story};

/// One thread's: worlds share its store, which is emptied for each.
pub struct Lab {
    database: Arc<Database>,
    metrics: Arc<Metrics>,
}

/// What became of a world.
#[derive(Debug, Clone)]
pub struct Report {
    pub seed: u64,
    pub broken: Option<Broken>,
    /// Of everything that happened, with its times.
    pub hash: u64,
    pub steps: u64,
    pub lasted: Duration,
    /// The last lines of its trace, if it was traced.
    pub lines: Vec<String>,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Lab {
    pub fn new() -> Result<Self, String> {
        static HOOK: Once = Once::new();
        HOOK.call_once(notice_panics);
        Ok(Self {
            database: Arc::new(Database::open()?),
            metrics: Metrics::new(),
        })
    }

    /// Lives the world of `seed`.
    pub fn run(&self, seed: u64, tracing: Tracing) -> Result<Report, String> {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let acts = acts::draw(&plan, &mut rng);
        self.live(seed, plan, tracing, |stage| story::tell(stage, acts))
    }

    /// A world without faults in which everybody has more to do than fits: who gets how much?
    pub fn run_fairness(&self, seed: u64, tracing: Tracing) -> Result<Report, String> {
        let plan = fairness::plan(&mut Rng::with_seed(seed));
        self.live(seed, plan, tracing, fairness::tell)
    }

    /// The world of `seed` once more, with its last lines, if it broke.
    pub fn explained(&self, seed: u64) -> Result<Report, String> {
        let report = self.run(seed, Tracing::Off)?;
        if report.broken.is_none() {
            return Ok(report);
        }
        self.run(seed, Tracing::Kept)
    }

    fn live<F>(
        &self,
        seed: u64,
        plan: Plan,
        tracing: Tracing,
        tell: impl FnOnce(Arc<Stage>) -> F,
    ) -> Result<Report, String>
    where
        F: Future<Output = Result<(), Broken>>,
    {
        self.database.empty()?;
        // The engine's own jitter.
        fastrand::seed(seed);
        PANIC.with_borrow_mut(|panic| *panic = None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| error.to_string())?;
        let (database, metrics) = (Arc::clone(&self.database), Arc::clone(&self.metrics));
        let report = runtime.block_on(async {
            let world = World::new(seed, plan, database, metrics, tracing);
            let stage = Stage::new(Arc::clone(&world));
            let told = tokio::select! {
                biased;
                () = world.over.cancelled() => Ok(()),
                told = tell(stage) => told,
            };
            if let Err(broken) = told {
                world.breaks(broken);
            }
            if let Some(panic) = PANIC.with_borrow_mut(Option::take) {
                world.breaks(Broken::new("nothing panics", panic));
            }
            let lasted = world.elapsed();
            let (broken, hash, steps, lines) = world.verdict();
            Report {
                seed,
                broken,
                hash,
                steps,
                lasted,
                lines,
            }
        });
        Ok(report)
    }
}

/// A task that panics would only be logged by its runtime.
fn notice_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let in_world = tokio::runtime::Handle::try_current().is_ok()
            && std::thread::current().name() != Some("bridge");
        if in_world {
            PANIC.with_borrow_mut(|noted| *noted = Some(panic.to_string()));
        } else {
            usual(panic);
        }
    }));
}

/// A world, its bridge and its store's threads take turns and never work at once: on one core the turns are cheap.
fn keep_to_core(thread: usize) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut own = CpuSet::new();
    // Where it cannot be had, all is only slower.
    if own.set(thread % cores).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &own);
    }
}

/// Lives the worlds of these seeds on so many threads; `hear` is told of each. Returns the first seed that broke,
/// explained.
pub fn run_all(
    seeds: std::ops::Range<u64>,
    threads: usize,
    hear: &(impl Fn(&Report) + Sync),
) -> Result<Option<Report>, String> {
    let next = AtomicU64::new(seeds.start);
    let worst: Mutex<Option<Report>> = Mutex::new(None);
    let failure: Mutex<Option<String>> = Mutex::new(None);
    let work = |core: usize| -> Result<(), String> {
        keep_to_core(core);
        let lab = Lab::new()?;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(());
            }
            let report = lab.explained(seed)?;
            hear(&report);
            if report.broken.is_some() {
                next.fetch_max(seeds.end, Ordering::Relaxed);
                let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
                if worst.as_ref().is_none_or(|other| report.seed < other.seed) {
                    *worst = Some(report);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (work, failure) = (&work, &failure);
            scope.spawn(move || {
                if let Err(error) = work(thread) {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            });
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    Ok(worst.into_inner().unwrap_or_else(PoisonError::into_inner))
}
