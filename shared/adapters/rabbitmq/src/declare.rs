//! Makes queues ahead of their first wake-up, or when they are first published to.
//!
//! The broker makes the queues of one channel one after the other, with a synced write to its own tables for each; those
//! of several channels share the sync. So every queue is declared on the next free channel of many, one at a time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::QueueError;
use domain::QueueKey;
use futures::{TryStreamExt, stream};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::{Instant, timeout};

use crate::error::{ANSWER_WITHIN, in_words, is_precondition_failed, no_answer};
use crate::lanes::Lanes;
use crate::link::Link;
use crate::names::Names;

/// Queues remembered as declared. Beyond that all are forgotten, which costs a declaration each.
const DECLARED_KEPT: usize = 100_000;

/// Declarations under way at once. Eight made 900 queues a second, sixteen 1,400, this many 1,800.
const DECLARE_LANES: usize = 32;

/// Far more than declarations under way, so that two of different queues seldom wait for each other.
const TURNS: usize = 256;

pub(crate) struct Declared {
    lanes: Lanes,
    names: Names,
    arguments: FieldTable,
    /// After so long a queue is declared again, which counts as use: one that is published to never expires.
    counts_for: Duration,
    known: Mutex<Known>,
    /// By hash of the queue, one after the other: a quorum queue that two declare at once refuses messages for a
    /// moment, though both were told that it is there.
    turns: Vec<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Known {
    /// The connection that they were declared on: another may lead to a broker that lost them.
    generation: u64,
    since: HashMap<QueueKey, Instant>,
}

impl Declared {
    pub(crate) fn new(link: Arc<Link>, names: Names, quorum: bool, expires: Duration) -> Self {
        let kind = if quorum { "quorum" } else { "classic" };
        let counts_for = expires / 4;
        let expires = i64::try_from(expires.as_millis()).unwrap_or(i64::MAX);
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        arguments.insert("x-expires".into(), AMQPValue::LongLongInt(expires));
        Self {
            lanes: Lanes::new(link, false, DECLARE_LANES),
            names,
            arguments,
            counts_for,
            known: Mutex::default(),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
        }
    }

    /// Sees to it that all of them are there, as far as can be known on connection `generation`.
    pub(crate) async fn ensure(
        &self,
        generation: u64,
        queues: impl Iterator<Item = QueueKey>,
    ) -> Result<(), QueueError> {
        let unknown = self.unknown(generation, queues);
        stream::iter(unknown.into_iter().map(Ok))
            .try_for_each_concurrent(DECLARE_LANES, |queue| self.ensure_one(generation, queue))
            .await
    }

    /// On the latest connection.
    pub(crate) fn knows(&self, queue: QueueKey) -> bool {
        self.known().since.contains_key(&queue)
    }

    pub(crate) fn forget(&self, queues: impl Iterator<Item = QueueKey>) {
        let mut known = self.known();
        for queue in queues {
            known.since.remove(&queue);
        }
    }

    fn unknown(&self, generation: u64, queues: impl Iterator<Item = QueueKey>) -> Vec<QueueKey> {
        let mut known = self.known();
        if known.generation < generation {
            known.generation = generation;
            known.since.clear();
        }
        queues
            .filter(|queue| {
                known
                    .since
                    .get(queue)
                    .is_none_or(|since| since.elapsed() >= self.counts_for)
            })
            .collect()
    }

    fn note(&self, generation: u64, queue: QueueKey) {
        let mut known = self.known();
        if known.since.len() >= DECLARED_KEPT {
            known.since.clear();
        }
        if known.generation == generation {
            known.since.insert(queue, Instant::now());
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ensure_one(&self, generation: u64, queue: QueueKey) -> Result<(), QueueError> {
        let _turn = self.turns[turn_of(queue)].lock().await;
        if self.unknown(generation, std::iter::once(queue)).is_empty() {
            return Ok(());
        }
        self.declare(queue).await?;
        self.note(generation, queue);
        Ok(())
    }

    async fn declare(&self, queue: QueueKey) -> Result<(), QueueError> {
        let lane = self.lanes.take().await?;
        let declaring = lane.channel().queue_declare(
            self.names.queue(queue).into(),
            QueueDeclareOptions::durable(),
            self.arguments.clone(),
        );
        match timeout(ANSWER_WITHIN, declaring).await {
            Ok(Ok(_)) => {
                self.lanes.put_back(lane);
                Ok(())
            }
            // It is there, made with other settings of before: it serves until it expires.
            Ok(Err(error)) if is_precondition_failed(&error) => Ok(()),
            Ok(Err(error)) => Err(in_words(&error)),
            Err(_) => Err(no_answer("declare a queue")),
        }
    }
}

fn turn_of(queue: QueueKey) -> usize {
    let mut hasher = DefaultHasher::new();
    queue.hash(&mut hasher);
    usize::try_from(hasher.finish() % TURNS as u64).unwrap_or(0)
}
