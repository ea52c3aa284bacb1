//! The simulated world: its time, its dice, its trace, and what the checks know of it.
//!
//! One thread lives in it, so the locks here are never waited for.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use domain::Timestamp;
use fastrand::Rng;
use telemetry::Metrics;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::database::{Change, Database};
use crate::model::{Broken, Call, Model};
use crate::plan::Plan;

/// Every world begins at this second, in microseconds since 1970.
const BEGINNING: i64 = 1_800_000_000_000_000;
/// Lines shown of a world that broke.
const LINES_KEPT: usize = 60;

/// What becomes of the lines of the trace, beside being hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracing {
    /// Not even made.
    Off,
    /// The last ones are kept.
    Kept,
    /// Written to the standard output as they come.
    Shown,
}

pub struct World {
    pub database: Arc<Database>,
    pub metrics: Arc<Metrics>,
    pub plan: Plan,
    /// Cancelled when something broke: the rest does not matter.
    pub over: CancellationToken,
    begun: Instant,
    tracing: Tracing,
    state: Mutex<State>,
}

struct State {
    dice: Rng,
    /// False: nothing goes wrong any more.
    faulty: bool,
    hash: DefaultHasher,
    lines: VecDeque<String>,
    steps: u64,
    ids: u64,
    model: Model,
    broken: Option<Broken>,
    /// What is dropped afterwards is not part of the world any more.
    closed: bool,
}

impl World {
    /// Needs the world's runtime.
    pub fn new(
        seed: u64,
        plan: Plan,
        database: Arc<Database>,
        metrics: Arc<Metrics>,
        tracing: Tracing,
    ) -> Arc<Self> {
        Arc::new(Self {
            database,
            metrics,
            plan,
            over: CancellationToken::new(),
            begun: Instant::now(),
            tracing,
            state: Mutex::new(State {
                dice: Rng::with_seed(seed),
                faulty: false,
                hash: DefaultHasher::new(),
                lines: VecDeque::new(),
                steps: 0,
                ids: 0,
                model: Model::default(),
                broken: None,
                closed: false,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The true time, which no process knows exactly.
    pub fn now(&self) -> Timestamp {
        let beginning = DateTime::from_timestamp_micros(BEGINNING).unwrap_or_default();
        let elapsed = i64::try_from(self.elapsed().as_micros()).unwrap_or(i64::MAX);
        beginning + TimeDelta::microseconds(elapsed)
    }

    pub fn dice<T>(&self, throw: impl FnOnce(&mut Rng) -> T) -> T {
        throw(&mut self.lock().dice)
    }

    /// True with this chance, while things go wrong.
    pub fn strikes(&self, chance: f64) -> bool {
        let mut state = self.lock();
        state.faulty && chance > 0.0 && state.dice.f64() < chance
    }

    pub fn set_faulty(&self, faulty: bool) {
        self.lock().faulty = faulty;
    }

    pub fn next_id(&self) -> u64 {
        let mut state = self.lock();
        state.ids += 1;
        state.ids
    }

    pub fn model<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        look(&mut self.lock().model)
    }

    /// Notes what happened. `what` is made only for people who read it; `key` is what the hash is of.
    pub fn note(&self, key: &[&str], what: impl FnOnce() -> String) {
        let elapsed = self.elapsed();
        let mut state = self.lock();
        if state.closed {
            return;
        }
        (elapsed, key).hash(&mut state.hash);
        state.steps += 1;
        if self.tracing != Tracing::Off {
            let line = format!("{:>10.3} {}", elapsed.as_secs_f64(), what());
            self.keep(&mut state, line);
        }
    }

    fn keep(&self, state: &mut State, line: String) {
        if self.tracing == Tracing::Shown {
            crate::show::line(&line);
            return;
        }
        if state.lines.len() >= LINES_KEPT {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
    }

    /// After each call of a store: holds what it changed against what may be.
    pub fn observe(&self, call: &Call<'_>, changes: Result<Vec<Change>, String>) {
        let changes = match changes {
            Ok(changes) if changes.is_empty() => return,
            Ok(changes) => changes,
            Err(error) => return self.breaks(Broken::new("the checks can be made", error)),
        };
        let now = self.now();
        let mut state = self.lock();
        let state = &mut *state;
        let mut lines = Vec::new();
        let mut broken = None;
        for change in changes {
            (&change.what, change.id.as_u128()).hash(&mut state.hash);
            for value in &change.says {
                value.hash(&mut state.hash);
            }
            if self.tracing != Tracing::Off {
                lines.push(format!("{:>10}   {}", "", state.model.describe(&change)));
            }
            broken = broken.or(state.model.take(call, &change, now).err());
        }
        broken = broken.or(state.model.settled(call, now).err());
        for line in lines {
            self.keep(state, line);
        }
        if let Some(broken) = broken {
            self.breaks_locked(state, broken);
        }
    }

    /// The first thing that is wrong ends the world.
    pub fn breaks(&self, broken: Broken) {
        self.breaks_locked(&mut self.lock(), broken);
    }

    fn breaks_locked(&self, state: &mut State, broken: Broken) {
        if state.broken.is_none() {
            let line = format!("{:>10.3} BROKEN: {broken}", self.elapsed().as_secs_f64());
            if self.tracing != Tracing::Off {
                self.keep(state, line);
            }
            state.broken = Some(broken);
            self.over.cancel();
        }
    }

    /// What is left when all is over: what broke, the hash of the trace, its length and its last lines.
    pub fn verdict(&self) -> (Option<Broken>, u64, u64, Vec<String>) {
        let mut state = self.lock();
        let lines = std::mem::take(&mut state.lines).into();
        let broken = state.broken.take();
        state.closed = true;
        (broken, state.hash.finish(), state.steps, lines)
    }
}
