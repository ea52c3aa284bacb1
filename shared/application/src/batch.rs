//! One transaction for many callers: while a batch is under way, the next one gathers.
//!
//! Nobody waits for a timer: an idle system serves a single caller at once, a busy one shares its commits. Callers
//! beyond the bound wait their turn.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

/// How much is gathered and how much runs at once.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Weight of one batch at most; a single heavier item makes a batch of its own.
    pub weight: usize,
    /// Callers that may wait before further ones are held up.
    pub waiting: usize,
    /// Batches under way at once.
    pub in_flight: usize,
}

type Entry<T, R> = (T, oneshot::Sender<R>);

/// A handle to the gathering task, which ends when the last handle is gone.
pub struct Batcher<T, R> {
    entries: mpsc::Sender<Entry<T, R>>,
}

impl<T, R> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
        }
    }
}

impl<T: Send + 'static, R: Send + 'static> Batcher<T, R> {
    /// Starts the task. `run` answers each item of a batch, in order; `weigh` says how much an item counts.
    pub fn start<F, Fut>(limits: BatchLimits, weigh: fn(&T) -> usize, run: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<R>> + Send + 'static,
    {
        let (entries, receiver) = mpsc::channel(limits.waiting);
        tokio::spawn(gather(limits, weigh, Arc::new(run), receiver));
        Self { entries }
    }

    /// The answer to `item`; `None` when its batch died.
    pub async fn call(&self, item: T) -> Option<R> {
        let (answer, answered) = oneshot::channel();
        self.entries.send((item, answer)).await.ok()?;
        answered.await.ok()
    }
}

async fn gather<T, R, F, Fut>(
    limits: BatchLimits,
    weigh: fn(&T) -> usize,
    run: Arc<F>,
    mut entries: mpsc::Receiver<Entry<T, R>>,
) where
    T: Send + 'static,
    R: Send + 'static,
    F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Vec<R>> + Send + 'static,
{
    let in_flight = Arc::new(Semaphore::new(limits.in_flight));
    while let Some(first) = entries.recv().await {
        // Waiting for a free place is when the batch grows.
        let Ok(place) = Arc::clone(&in_flight).acquire_owned().await else {
            return;
        };
        let mut weight = weigh(&first.0);
        let mut batch = vec![first];
        while weight < limits.weight {
            let Ok(entry) = entries.try_recv() else { break };
            weight += weigh(&entry.0);
            batch.push(entry);
        }
        let run = Arc::clone(&run);
        tokio::spawn(async move {
            let (items, answers): (Vec<T>, Vec<_>) = batch.into_iter().unzip();
            for (result, answer) in run(items).await.into_iter().zip(answers) {
                // A caller that went away does not need its answer.
                let _ = answer.send(result);
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BatchLimits = BatchLimits {
        weight: 10,
        waiting: 100,
        in_flight: 1,
    };

    #[tokio::test]
    async fn callers_share_batches_and_get_their_own_answers() {
        let (sizes, mut seen) = mpsc::unbounded_channel();
        let batcher = Batcher::start(
            LIMITS,
            |_| 1,
            move |items: Vec<u32>| {
                let sizes = sizes.clone();
                async move {
                    let _ = sizes.send(items.len());
                    tokio::task::yield_now().await;
                    items.into_iter().map(|item| item * 2).collect()
                }
            },
        );
        let answers = futures::future::join_all((0..50).map(|item| batcher.call(item))).await;
        let expected: Vec<_> = (0..50).map(|item| Some(item * 2)).collect();
        assert_eq!(answers, expected);
        drop(batcher);
        let mut sizes = Vec::new();
        while let Some(size) = seen.recv().await {
            sizes.push(size);
        }
        assert!(sizes.iter().all(|size| *size <= LIMITS.weight), "{sizes:?}");
        assert!(sizes.len() < 50, "nothing was shared: {sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 50);
    }

    #[tokio::test]
    async fn a_batch_that_dies_answers_none_and_the_next_one_lives() {
        let batcher = Batcher::start(
            LIMITS,
            |_| 1,
            |items: Vec<u32>| async move {
                assert!(!items.contains(&13), "unlucky");
                items
            },
        );
        assert_eq!(batcher.call(13).await, None);
        assert_eq!(batcher.call(7).await, Some(7));
    }
}
