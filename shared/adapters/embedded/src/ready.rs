use std::collections::HashMap;
use std::sync::Mutex;

use application::ports::{CoordinationError, Pick, ReadySet, Served, Visited};
use async_trait::async_trait;
use domain::{JobKind, QueueKey, SlotSnapshot};
use tokio::sync::watch;

use crate::fair::FairSet;
use crate::mutex::lock;

/// The ready set of one process. Blank until it was rebuilt for the first time.
#[derive(Debug)]
pub struct EmbeddedReady {
    state: Mutex<State>,
    wakeups: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    complete: bool,
    kinds: HashMap<JobKind, FairSet>,
    /// The kind picked last: kinds take turns.
    latest: Option<JobKind>,
}

impl Default for EmbeddedReady {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            wakeups: watch::Sender::new(0),
        }
    }
}

impl EmbeddedReady {
    fn wake(&self) {
        self.wakeups.send_modify(|count| *count += 1);
    }
}

impl State {
    fn note(&mut self, slots: &[SlotSnapshot]) -> bool {
        slots.iter().fold(false, |woke, slots| {
            let set = self.kinds.entry(slots.queue.kind).or_default();
            set.note(slots) || woke
        })
    }

    fn refresh(&mut self, slots: &[SlotSnapshot]) -> bool {
        slots.iter().fold(false, |woke, slots| {
            let set = self.kinds.entry(slots.queue.kind).or_default();
            set.refresh(slots) || woke
        })
    }

    fn pick(&mut self, kinds: &[JobKind], want: u32) -> Pick {
        if !self.complete {
            return Pick::Blank;
        }
        let after_latest = kinds
            .iter()
            .position(|kind| Some(*kind) == self.latest)
            .map_or(0, |index| index + 1);
        let (later, first) = kinds.split_at(after_latest);
        for kind in first.iter().chain(later).copied() {
            let picked = self.kinds.get_mut(&kind).and_then(|set| set.pick(want));
            if let Some((tenant, n, estimate)) = picked {
                self.latest = Some(kind);
                let queue = QueueKey { tenant, kind };
                return Pick::Queue { queue, n, estimate };
            }
        }
        Pick::Nothing
    }
}

#[async_trait]
impl ReadySet for EmbeddedReady {
    async fn note(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError> {
        if lock(&self.state).note(slots) {
            self.wake();
        }
        Ok(())
    }

    async fn refresh(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError> {
        if lock(&self.state).refresh(slots) {
            self.wake();
        }
        Ok(())
    }

    async fn arrived(&self, queues: &[QueueKey]) -> Result<(), CoordinationError> {
        let mut woke = false;
        {
            let mut state = lock(&self.state);
            for queue in queues {
                if let Some(set) = state.kinds.get_mut(&queue.kind) {
                    woke |= set.arrived(queue.tenant);
                }
            }
        }
        if woke {
            self.wake();
        }
        Ok(())
    }

    async fn pick(&self, kinds: &[JobKind], want: u32) -> Result<Pick, CoordinationError> {
        Ok(lock(&self.state).pick(kinds, want))
    }

    async fn visited(&self, visited: Visited) -> Result<(), CoordinationError> {
        let woke = lock(&self.state)
            .kinds
            .get_mut(&visited.queue.kind)
            .is_some_and(|set| set.visited(&visited));
        if woke {
            self.wake();
        }
        Ok(())
    }

    async fn served(&self, served: &[Served]) -> Result<(), CoordinationError> {
        let mut state = lock(&self.state);
        for served in served {
            if let Some(set) = state.kinds.get_mut(&served.queue.kind) {
                set.served(served);
            }
        }
        Ok(())
    }

    async fn rebuild(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError> {
        {
            let mut state = lock(&self.state);
            *state = State::default();
            state.note(slots);
            state.complete = true;
        }
        self.wake();
        Ok(())
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeups.subscribe()
    }

    async fn check(&self) -> Result<(), CoordinationError> {
        Ok(())
    }
}
