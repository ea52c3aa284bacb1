//! Makes queues when they are first published to.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::QueueError;
use domain::QueueKey;
use futures::{StreamExt, stream};
use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::{Instant, timeout};

use crate::error::{ANSWER_WITHIN, answered, in_words, is_precondition_failed, no_answer};
use crate::link::Link;
use crate::names::Names;

/// Queues remembered as declared. Beyond that all are forgotten, which costs a declaration each.
const DECLARED_KEPT: usize = 100_000;

/// Declarations under way at once.
const DECLARE_WINDOW: usize = 200;

pub(crate) struct Declared {
    names: Names,
    arguments: FieldTable,
    /// After so long a queue is declared again, which counts as use: one that is published to never expires.
    counts_for: Duration,
    known: Mutex<Known>,
    /// One after the other: a quorum queue that two declare at once refuses messages for a moment, though both were
    /// told that it is there.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// The connection that they were declared on: another may lead to a broker that lost them.
    generation: u64,
    since: HashMap<QueueKey, Instant>,
}

impl Declared {
    pub(crate) fn new(names: Names, quorum: bool, expires: Duration) -> Self {
        let kind = if quorum { "quorum" } else { "classic" };
        let counts_for = expires / 4;
        let expires = i64::try_from(expires.as_millis()).unwrap_or(i64::MAX);
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        arguments.insert("x-expires".into(), AMQPValue::LongLongInt(expires));
        Self {
            names,
            arguments,
            counts_for,
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Sees to it that all of them are there, as far as can be known on connection `generation`.
    pub(crate) async fn ensure(
        &self,
        link: &Link,
        generation: u64,
        queues: impl Iterator<Item = QueueKey>,
    ) -> Result<(), QueueError> {
        let unknown = self.unknown(generation, queues);
        if unknown.is_empty() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let unknown = self.unknown(generation, unknown.into_iter());
        if unknown.is_empty() {
            return Ok(());
        }
        self.declare(link, &unknown).await?;
        let now = Instant::now();
        let mut known = self.known();
        if known.since.len() + unknown.len() > DECLARED_KEPT {
            known.since.clear();
        }
        if known.generation == generation {
            known
                .since
                .extend(unknown.into_iter().map(|queue| (queue, now)));
        }
        Ok(())
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
        let mut unknown: Vec<QueueKey> = queues
            .filter(|queue| {
                known
                    .since
                    .get(queue)
                    .is_none_or(|since| since.elapsed() >= self.counts_for)
            })
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On a channel of its own that is closed afterwards: the library remembers every queue that was declared on a
    /// channel.
    async fn declare(&self, link: &Link, queues: &[QueueKey]) -> Result<(), QueueError> {
        let opened = link.channel().await?;
        let mut outcomes = stream::iter(queues.iter().copied())
            .map(|queue| self.declare_one(&opened.channel, queue))
            .buffer_unordered(DECLARE_WINDOW);
        let mut failed = Vec::new();
        loop {
            let next = async { Ok(outcomes.next().await) };
            match answered("declare a queue", next).await? {
                Some(Ok(_)) => {}
                Some(Err((queue, _))) => failed.push(queue),
                None => break,
            }
        }
        drop(outcomes);
        drop(opened);
        for queue in failed {
            self.declare_alone(link, queue).await?;
        }
        Ok(())
    }

    /// One failure closes the channel and fails all that were under way on it, so the rest is tried one by one.
    async fn declare_alone(&self, link: &Link, queue: QueueKey) -> Result<(), QueueError> {
        let opened = link.channel().await?;
        let declaring = self.declare_one(&opened.channel, queue);
        match timeout(ANSWER_WITHIN, declaring).await {
            Ok(Ok(_)) => Ok(()),
            // It is there, made with other settings of before: it serves until it expires.
            Ok(Err((_, error))) if is_precondition_failed(&error) => Ok(()),
            Ok(Err((_, error))) => Err(in_words(&error)),
            Err(_) => Err(no_answer("declare a queue")),
        }
    }

    async fn declare_one(
        &self,
        channel: &Channel,
        queue: QueueKey,
    ) -> Result<QueueKey, (QueueKey, lapin::Error)> {
        channel
            .queue_declare(
                self.names.queue(queue).into(),
                QueueDeclareOptions::durable(),
                self.arguments.clone(),
            )
            .await
            .map(|_| queue)
            .map_err(|error| (queue, error))
    }
}
