//! Counters in memory. A queue without wake-ups is not kept, so an idle tenant costs nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use application::ports::{JobQueue, QueueError, Receipt, Visit, Wakeups};
use async_trait::async_trait;
use domain::QueueKey;
use tokio::time::Instant;

use crate::mutex::lock;

/// A visit that is neither acked nor given back for this long was lost by its caller: its wake-ups go back. A claim
/// takes milliseconds.
const VISIT_HELD_MAX: Duration = Duration::from_mins(1);

/// The queues of one process. Its marker is missing after a start, which is how the engine learns that all wake-ups
/// of before are gone.
#[derive(Debug, Default)]
pub struct EmbeddedQueue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Never holds a zero.
    waiting: HashMap<QueueKey, u32>,
    /// By receipt, so the oldest comes first.
    held: BTreeMap<u64, Held>,
    receipts: u64,
    marker: bool,
}

#[derive(Debug)]
struct Held {
    wakeups: Wakeups,
    since: Instant,
}

impl State {
    fn add(&mut self, Wakeups { queue, n }: Wakeups) {
        if n > 0 {
            let waiting = self.waiting.entry(queue).or_default();
            *waiting = waiting.saturating_add(n);
        }
    }

    fn visit(&mut self, queue: QueueKey, n: u32) -> Visit {
        self.recover_lost_visits();
        let taken = self.take(queue, n);
        self.receipts += 1;
        if taken > 0 {
            let held = Held {
                wakeups: Wakeups { queue, n: taken },
                since: Instant::now(),
            };
            self.held.insert(self.receipts, held);
        }
        Visit {
            taken,
            beyond: false,
            receipt: Receipt(self.receipts),
        }
    }

    fn take(&mut self, queue: QueueKey, n: u32) -> u32 {
        let Some(waiting) = self.waiting.get_mut(&queue) else {
            return 0;
        };
        let taken = n.min(*waiting);
        *waiting -= taken;
        if *waiting == 0 {
            self.waiting.remove(&queue);
        }
        taken
    }

    fn recover_lost_visits(&mut self) {
        while let Some(oldest) = self.held.first_entry() {
            if oldest.get().since.elapsed() < VISIT_HELD_MAX {
                break;
            }
            let lost = oldest.remove();
            self.add(lost.wakeups);
        }
    }
}

#[async_trait]
impl JobQueue for EmbeddedQueue {
    async fn publish(&self, wakeups: Vec<Wakeups>) -> Result<Vec<Wakeups>, QueueError> {
        let mut state = lock(&self.state);
        for wakeups in wakeups {
            state.add(wakeups);
        }
        Ok(Vec::new())
    }

    async fn make(&self, _: QueueKey) -> Result<(), QueueError> {
        Ok(())
    }

    /// Making one takes no time.
    fn knows(&self, _: QueueKey) -> bool {
        true
    }

    async fn visit(&self, queue: QueueKey, n: u32) -> Result<Visit, QueueError> {
        Ok(lock(&self.state).visit(queue, n))
    }

    async fn ack(&self, receipt: Receipt) -> Result<(), QueueError> {
        lock(&self.state).held.remove(&receipt.0);
        Ok(())
    }

    async fn give_back(&self, receipt: Receipt) -> Result<(), QueueError> {
        let mut state = lock(&self.state);
        if let Some(held) = state.held.remove(&receipt.0) {
            state.add(held.wakeups);
        }
        Ok(())
    }

    async fn depth(&self, queue: QueueKey) -> Result<u32, QueueError> {
        let mut state = lock(&self.state);
        state.recover_lost_visits();
        Ok(state.waiting.get(&queue).copied().unwrap_or(0))
    }

    /// It keeps counts instead of messages.
    fn wakeups_a_message(&self) -> u32 {
        1
    }

    async fn has_marker(&self) -> Result<bool, QueueError> {
        Ok(lock(&self.state).marker)
    }

    async fn set_marker(&self) -> Result<(), QueueError> {
        lock(&self.state).marker = true;
        Ok(())
    }

    async fn check(&self) -> Result<(), QueueError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::{JobKind, TenantId};
    use uuid::Uuid;

    use super::*;

    fn key(tenant: u128) -> QueueKey {
        QueueKey {
            tenant: TenantId::from_uuid(Uuid::from_u128(tenant)),
            kind: JobKind::Session,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_visit_that_its_caller_lost_gives_its_wakeups_back() {
        let queue = EmbeddedQueue::default();
        let wakeups = Wakeups {
            queue: key(1),
            n: 3,
        };
        queue.publish(vec![wakeups]).await.unwrap();

        assert_eq!(queue.visit(key(1), 2).await.unwrap().taken, 2);
        tokio::time::advance(VISIT_HELD_MAX / 2).await;
        assert_eq!(queue.depth(key(1)).await.unwrap(), 1);
        tokio::time::advance(VISIT_HELD_MAX / 2).await;
        assert_eq!(queue.depth(key(1)).await.unwrap(), 3);
        assert_eq!(queue.visit(key(1), 5).await.unwrap().taken, 3);
    }

    #[tokio::test]
    async fn an_emptied_queue_is_forgotten() {
        let queue = EmbeddedQueue::default();
        for tenant in 0..100 {
            let wakeups = Wakeups {
                queue: key(tenant),
                n: 2,
            };
            queue.publish(vec![wakeups]).await.unwrap();
            let visit = queue.visit(key(tenant), 10).await.unwrap();
            queue.ack(visit.receipt).await.unwrap();
        }
        let state = lock(&queue.state);
        assert!(state.waiting.is_empty() && state.held.is_empty());
    }
}
