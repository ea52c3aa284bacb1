//! Sends wake-ups in a sliding window of confirms.

use std::collections::{BTreeMap, HashMap};

use application::ports::{QueueError, Wakeups};
use domain::QueueKey;
use futures::{StreamExt, stream};
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::timeout;

use crate::declare::Declared;
use crate::error::{ANSWER_WITHIN, in_words, no_answer};
use crate::lanes::Lanes;
use crate::message;
use crate::names::Names;

/// Messages that wait for their confirm at once. The broker syncs once for all of them.
const CONFIRM_WINDOW: usize = 1_000;

/// Publishes under way at once; more wait for a channel.
pub(crate) const PUBLISH_LANES: usize = 8;

/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;
/// Is lost with it.
const TRANSIENT: u8 = 1;

pub(crate) struct Publisher {
    lanes: Lanes,
    declared: Declared,
    names: Names,
    delivery_mode: u8,
}

/// What became of a batch. Every wake-up that is in neither is safe.
#[derive(Default)]
struct Outcome {
    /// Their queue is not there.
    unroutable: Vec<Wakeups>,
    /// Refused, or nobody knows.
    unsent: Vec<Wakeups>,
    /// Why nobody knows.
    trouble: Option<String>,
}

/// What the broker said of the messages sent, in wake-ups.
#[derive(Default)]
struct Answers {
    /// By the place of their queue in the batch.
    acked: Vec<u32>,
    /// By the name of their queue; those are acked as well.
    returned: HashMap<ShortString, u32>,
    trouble: Option<String>,
}

impl Publisher {
    pub(crate) fn new(lanes: Lanes, declared: Declared, names: Names, persistent: bool) -> Self {
        Self {
            lanes,
            declared,
            names,
            delivery_mode: if persistent { PERSISTENT } else { TRANSIENT },
        }
    }

    pub(crate) async fn check(&self) -> Result<(), QueueError> {
        let lane = self.lanes.take().await?;
        self.lanes.link().channel().await?;
        self.lanes.put_back(lane);
        Ok(())
    }

    pub(crate) async fn make(&self, queue: QueueKey) -> Result<(), QueueError> {
        let lane = self.lanes.take().await?;
        let generation = lane.generation();
        self.lanes.put_back(lane);
        self.declared
            .ensure(generation, std::iter::once(queue))
            .await
    }

    pub(crate) fn knows(&self, queue: QueueKey) -> bool {
        self.declared.knows(queue)
    }

    /// Returns the wake-ups that are not known to be safe.
    pub(crate) async fn publish(&self, wakeups: Vec<Wakeups>) -> Result<Vec<Wakeups>, QueueError> {
        let batch = one_a_queue(wakeups);
        if batch.is_empty() {
            return Ok(batch);
        }
        let lane = self.lanes.take().await?;
        let generation = lane.generation();
        self.declared.ensure(generation, queues(&batch)).await?;
        let mut outcome = self.send(lane.channel(), batch).await;
        if !outcome.unroutable.is_empty() && outcome.trouble.is_none() {
            let again = std::mem::take(&mut outcome.unroutable);
            let second = self.send_again(lane.channel(), generation, again).await;
            outcome.unsent.extend(second.unroutable);
            outcome.unsent.extend(second.unsent);
            outcome.trouble = second.trouble;
        }
        outcome.unsent.append(&mut outcome.unroutable);
        let unsent = one_a_queue(outcome.unsent);
        match outcome.trouble {
            // The channel is dropped: confirms that come late must not be taken for those of the next publish.
            Some(trouble) => {
                let queues = unsent.len();
                tracing::warn!(queues, trouble, "wake-ups are not known to be sent");
            }
            None => self.lanes.put_back(lane),
        }
        Ok(unsent)
    }

    /// To one queue that is known to be there.
    pub(crate) async fn publish_one(&self, name: ShortString) -> Result<(), QueueError> {
        let lane = self.lanes.take().await?;
        match timeout(ANSWER_WITHIN, self.send_one(lane.channel(), name, 1)).await {
            Ok(Ok(Confirmation::Ack(None))) => {
                self.lanes.put_back(lane);
                Ok(())
            }
            Ok(Ok(_)) => Err(QueueError("RabbitMQ refused a message".to_owned())),
            Ok(Err(error)) => Err(in_words(&error)),
            Err(_) => Err(no_answer("publish")),
        }
    }

    /// Queues were deleted behind our back, or expired. They are made again, once.
    async fn send_again(&self, channel: &Channel, generation: u64, batch: Vec<Wakeups>) -> Outcome {
        self.declared.forget(queues(&batch));
        match self.declared.ensure(generation, queues(&batch)).await {
            Ok(()) => self.send(channel, batch).await,
            Err(QueueError(error)) => Outcome {
                unsent: batch,
                trouble: Some(error),
                ..Outcome::default()
            },
        }
    }

    async fn send(&self, channel: &Channel, batch: Vec<Wakeups>) -> Outcome {
        let names: Vec<ShortString> = queues(&batch)
            .map(|queue| self.names.queue(queue).into())
            .collect();
        let answers = self.answers(channel, &batch, &names).await;
        let mut outcome = Outcome {
            trouble: answers.trouble,
            ..Outcome::default()
        };
        for ((wakeups, name), acked) in batch.iter().zip(&names).zip(answers.acked) {
            let returned = answers.returned.get(name).copied().unwrap_or(0);
            let unknown = wakeups.n.saturating_sub(acked);
            for (list, n) in [
                (&mut outcome.unroutable, returned),
                (&mut outcome.unsent, unknown),
            ] {
                if n > 0 {
                    list.push(Wakeups { n, ..*wakeups });
                }
            }
        }
        outcome
    }

    async fn answers(
        &self,
        channel: &Channel,
        batch: &[Wakeups],
        names: &[ShortString],
    ) -> Answers {
        let mut answers = Answers {
            acked: vec![0; batch.len()],
            ..Answers::default()
        };
        let counts: Vec<u32> = batch.iter().map(|wakeups| wakeups.n).collect();
        let messages = counts
            .into_iter()
            .enumerate()
            .flat_map(|(place, n)| message::split(n).map(move |count| (place, count)));
        let mut confirms = stream::iter(messages)
            .map(|(place, count)| async move {
                let answer = self.send_one(channel, names[place].clone(), count).await;
                (place, count, answer)
            })
            .buffer_unordered(CONFIRM_WINDOW);
        loop {
            match timeout(ANSWER_WITHIN, confirms.next()).await {
                Ok(Some((place, count, Ok(confirmation)))) => {
                    if confirmation.is_ack() {
                        answers.acked[place] += count;
                    }
                    // A returned message comes with whichever confirm is handled next, so only its own address tells
                    // which one it is.
                    if let Some(returned) = confirmation.take_message() {
                        let name = returned.delivery.routing_key.clone();
                        *answers.returned.entry(name).or_default() +=
                            message::count(&returned.delivery.data);
                    }
                }
                Ok(Some((_, _, Err(error)))) => answers.trouble = Some(error.to_string()),
                Ok(None) => break,
                Err(_) => {
                    answers.trouble = Some("the broker does not confirm".to_owned());
                    break;
                }
            }
        }
        answers
    }

    /// A message that stands for `count` wake-ups.
    async fn send_one(
        &self,
        channel: &Channel,
        name: ShortString,
        count: u32,
    ) -> lapin::Result<Confirmation> {
        let confirm = channel
            .basic_publish(
                // The default exchange: straight to the queue of that name.
                "".into(),
                name,
                BasicPublishOptions {
                    mandatory: true,
                    ..BasicPublishOptions::default()
                },
                &message::body(count),
                BasicProperties::default().with_delivery_mode(self.delivery_mode),
            )
            .await?;
        confirm.await
    }
}

/// Each queue once, with the sum of its wake-ups; never one with none.
fn one_a_queue(wakeups: Vec<Wakeups>) -> Vec<Wakeups> {
    let mut sums: BTreeMap<QueueKey, u32> = BTreeMap::new();
    for Wakeups { queue, n } in wakeups {
        let sum = sums.entry(queue).or_default();
        *sum = sum.saturating_add(n);
    }
    sums.into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(queue, n)| Wakeups { queue, n })
        .collect()
}

fn queues(batch: &[Wakeups]) -> impl Iterator<Item = QueueKey> {
    batch.iter().map(|wakeups| wakeups.queue)
}
