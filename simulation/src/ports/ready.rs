//! A ready set that fails, is wiped, and whose wake-ups get lost.

use std::sync::Arc;

use adapter_embedded::EmbeddedReady;
use application::ports::{CoordinationError, Pick, ReadySet, Served, Visited};
use async_trait::async_trait;
use domain::{JobKind, QueueKey, SlotSnapshot};
use tokio::sync::watch;

use super::{Reach, lock};

pub struct Turns(pub Reach);

impl Turns {
    async fn reach<T>(
        &self,
        name: &'static str,
        call: impl AsyncFnOnce(&EmbeddedReady) -> Result<T, CoordinationError>,
    ) -> Result<T, CoordinationError> {
        let faults = self.0.process.world.plan.faults.ready;
        let set = || Arc::clone(&lock(&self.0.services.ready).set);
        let called = async || {
            let result = call(&set()).await;
            self.wake();
            result
        };
        self.0.call(name, faults, called, CoordinationError).await
    }

    /// Hands a wake-up on to every process, unless it is lost on the way.
    fn wake(&self) {
        let services = &self.0.services;
        let mut ready = lock(&services.ready);
        if !ready.wakeups.has_changed().unwrap_or(false) {
            return;
        }
        ready.wakeups.mark_unchanged();
        for process in lock(&services.processes).iter() {
            let world = &process.world;
            if !world.strikes(world.plan.faults.wakeups_lost) {
                process.wakeups.send_modify(|count| *count += 1);
            }
        }
    }
}

#[async_trait]
impl ReadySet for Turns {
    async fn note(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError> {
        self.reach("note", async |set| set.note(slots).await).await
    }

    async fn refresh(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError> {
        self.reach("refresh", async |set| set.refresh(slots).await)
            .await
    }

    async fn arrived(&self, queues: &[QueueKey]) -> Result<(), CoordinationError> {
        self.reach("arrived", async |set| set.arrived(queues).await)
            .await
    }

    async fn pick(&self, kinds: &[JobKind], want: u32) -> Result<Pick, CoordinationError> {
        self.reach("pick", async |set| set.pick(kinds, want).await)
            .await
    }

    async fn visited(&self, visited: Visited) -> Result<(), CoordinationError> {
        self.reach("visited", async |set| set.visited(visited).await)
            .await
    }

    async fn served(&self, served: &[Served]) -> Result<(), CoordinationError> {
        self.reach("served", async |set| set.served(served).await)
            .await
    }

    async fn rebuild(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError> {
        self.reach("rebuild", async |set| set.rebuild(slots).await)
            .await
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.0.process.wakeups.subscribe()
    }

    async fn check(&self) -> Result<(), CoordinationError> {
        Ok(())
    }
}
