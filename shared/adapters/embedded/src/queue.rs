use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use application::ports::{JobQueue, Message, QueueError, Receipt, Visit};
use async_trait::async_trait;
use domain::{JobId, QueueKey};
use tokio::time::Instant;

use crate::mutex::lock;

/// A visit that is neither acked nor given back for this long was lost by its caller: its messages go back. A claim
/// takes milliseconds.
const VISIT_HELD_MAX: Duration = Duration::from_mins(1);

/// The queues of one process. Its marker is missing after a start, which is how the engine learns that all messages
/// of before are gone.
#[derive(Debug, Default)]
pub struct EmbeddedQueue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Never holds an empty queue, so an idle tenant costs nothing.
    queues: HashMap<QueueKey, VecDeque<JobId>>,
    /// By receipt, so the oldest comes first.
    held: BTreeMap<u64, Held>,
    receipts: u64,
    marker: bool,
}

#[derive(Debug)]
struct Held {
    queue: QueueKey,
    jobs: Vec<JobId>,
    since: Instant,
}

impl State {
    fn visit(&mut self, queue: QueueKey, n: u32) -> Visit {
        self.recover_lost_visits();
        let jobs = self.take(queue, n);
        self.receipts += 1;
        if !jobs.is_empty() {
            let held = Held {
                queue,
                jobs: jobs.clone(),
                since: Instant::now(),
            };
            self.held.insert(self.receipts, held);
        }
        Visit {
            jobs,
            receipt: Receipt(self.receipts),
        }
    }

    fn take(&mut self, queue: QueueKey, n: u32) -> Vec<JobId> {
        let Some(waiting) = self.queues.get_mut(&queue) else {
            return Vec::new();
        };
        let n = usize::try_from(n).unwrap_or(usize::MAX).min(waiting.len());
        let jobs = waiting.drain(..n).collect();
        if waiting.is_empty() {
            self.queues.remove(&queue);
        }
        jobs
    }

    fn give_back(&mut self, held: Held) {
        let waiting = self.queues.entry(held.queue).or_default();
        for job in held.jobs.into_iter().rev() {
            waiting.push_front(job);
        }
    }

    fn recover_lost_visits(&mut self) {
        while let Some(oldest) = self.held.first_entry() {
            if oldest.get().since.elapsed() < VISIT_HELD_MAX {
                break;
            }
            let lost = oldest.remove();
            self.give_back(lost);
        }
    }
}

#[async_trait]
impl JobQueue for EmbeddedQueue {
    async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Message>, QueueError> {
        let mut state = lock(&self.state);
        for message in messages {
            let waiting = state.queues.entry(message.queue).or_default();
            waiting.push_back(message.job);
        }
        Ok(Vec::new())
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
            state.give_back(held);
        }
        Ok(())
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
    use domain::{JobKind, Priority, TenantId};
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_visit_that_its_caller_lost_gives_its_messages_back() {
        let queue = EmbeddedQueue::default();
        let key = QueueKey {
            tenant: TenantId::from_uuid(Uuid::from_u128(1)),
            kind: JobKind::Session,
        };
        let job = JobId::from_uuid(Uuid::from_u128(2));
        let priority = Priority::Medium;
        let message = Message {
            queue: key,
            job,
            priority,
        };
        queue.publish(vec![message]).await.unwrap();

        assert_eq!(queue.visit(key, 1).await.unwrap().jobs, [job]);
        tokio::time::advance(VISIT_HELD_MAX / 2).await;
        assert!(queue.visit(key, 1).await.unwrap().jobs.is_empty());
        tokio::time::advance(VISIT_HELD_MAX / 2).await;
        assert_eq!(queue.visit(key, 1).await.unwrap().jobs, [job]);
    }

    #[tokio::test]
    async fn an_emptied_queue_is_forgotten() {
        let queue = EmbeddedQueue::default();
        for tenant in 0..100 {
            let key = QueueKey {
                tenant: TenantId::from_uuid(Uuid::from_u128(tenant)),
                kind: JobKind::Training,
            };
            let job = JobId::from_uuid(Uuid::from_u128(tenant));
            let priority = Priority::Low;
            let message = Message {
                queue: key,
                job,
                priority,
            };
            queue.publish(vec![message]).await.unwrap();
            let visit = queue.visit(key, 10).await.unwrap();
            queue.ack(visit.receipt).await.unwrap();
        }
        let state = lock(&queue.state);
        assert!(state.queues.is_empty() && state.held.is_empty());
    }
}
