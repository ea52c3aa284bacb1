//! A process of the world: a producer or a worker, which may be frozen or killed at any moment.
//!
//! A killed one gets no answer ever again and nothing that it does is seen; what it left in memory goes with the world.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::plan::{PAUSE_MS, SKEW};
use crate::world::World;

/// How long a process that thaws may go on as if nothing had been.
const LOOKS_AROUND: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Up,
    Frozen,
    Dead,
}

pub struct Process {
    pub name: String,
    pub world: Arc<World>,
    /// How far its clock is from the true time.
    pub skew: TimeDelta,
    /// Its own end of the ready set's wake-ups: one waiter each, so that nothing chooses whom to wake first.
    pub wakeups: watch::Sender<u64>,
    /// Cancelled when it is killed, for those who wait for it.
    pub gone: CancellationToken,
    life: Mutex<Life>,
    thawed: Notify,
    thawed_at: Mutex<Option<Instant>>,
    ambush: Mutex<Option<&'static str>>,
    /// It ran into its ambush.
    pub caught: Notify,
}

impl Process {
    pub fn start(world: &Arc<World>, name: String) -> Arc<Self> {
        let skew = i64::try_from(SKEW.as_micros()).unwrap_or(i64::MAX);
        let skew = world.dice(|dice| dice.i64(-skew..=skew));
        world.note(&["start", &name], || format!("{name} starts"));
        Arc::new(Self {
            name,
            world: Arc::clone(world),
            skew: TimeDelta::microseconds(skew),
            wakeups: watch::Sender::new(0),
            gone: CancellationToken::new(),
            life: Mutex::new(Life::Up),
            thawed: Notify::new(),
            thawed_at: Mutex::default(),
            ambush: Mutex::default(),
            caught: Notify::new(),
        })
    }

    pub fn life(&self) -> Life {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_up(&self) -> bool {
        self.life() == Life::Up
    }

    /// What comes after this happens in a process that is up.
    pub async fn gate(&self) {
        loop {
            match self.life() {
                Life::Up => return,
                Life::Frozen => self.thawed.notified().await,
                Life::Dead => std::future::pending().await,
            }
        }
    }

    /// A seeded moment of a healthy call, then the gate.
    pub async fn pause(&self) {
        let pause = self.world.dice(|dice| dice.u64(..=PAUSE_MS));
        self.rest(Duration::from_millis(pause)).await;
    }

    pub async fn rest(&self, rest: Duration) {
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        self.gate().await;
    }

    pub fn kill(&self) {
        self.turn(Life::Dead);
        self.gone.cancel();
    }

    pub fn freeze(&self) {
        if self.is_up() {
            self.turn(Life::Frozen);
        }
    }

    /// It is to be frozen when it makes this call of the store, before it is done. `None` calls that off.
    pub fn lie_in_wait(&self, call: Option<&'static str>) {
        *self.ambush.lock().unwrap_or_else(PoisonError::into_inner) = call;
    }

    /// About to make this call.
    pub fn calls(&self, call: &str) {
        let mut ambush = self.ambush.lock().unwrap_or_else(PoisonError::into_inner);
        if *ambush == Some(call) {
            *ambush = None;
            self.freeze();
            self.caught.notify_one();
        }
    }

    /// What it was about to do when it was frozen is done now, however late.
    pub fn thaw(&self) {
        if self.life() == Life::Frozen {
            self.turn(Life::Up);
            *self
                .thawed_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.thawed.notify_waiters();
        }
    }

    /// It may not have looked around yet.
    pub fn thawed_just_now(&self) -> bool {
        let thawed = *self
            .thawed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        thawed.is_some_and(|at| at.elapsed() < LOOKS_AROUND)
    }

    fn turn(&self, life: Life) {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = life;
        let name = &self.name;
        self.world.note(
            &["life", name, if life == Life::Up { "up" } else { "down" }],
            || format!("{name} is {life:?}"),
        );
    }
}
