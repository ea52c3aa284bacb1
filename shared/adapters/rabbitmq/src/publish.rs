//! Sends messages in a sliding window of confirms.

use std::collections::{HashMap, HashSet};

use application::ports::{Message, QueueError};
use domain::JobId;
use futures::{StreamExt, stream};
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::timeout;
use uuid::Uuid;

use crate::declare::Declared;
use crate::error::ANSWER_WITHIN;
use crate::lanes::Lanes;
use crate::names::Names;

/// Messages that wait for their confirm at once. The broker syncs once for all of them.
const CONFIRM_WINDOW: usize = 1_000;

/// Publishes under way at once; more wait for a channel.
pub(crate) const PUBLISH_LANES: usize = 8;

/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;

pub(crate) struct Publisher {
    lanes: Lanes,
    declared: Declared,
    names: Names,
}

/// What became of a batch. Every message that is in neither is safe.
#[derive(Default)]
struct Outcome {
    /// Their queue is not there.
    unroutable: Vec<Message>,
    /// Refused, or nobody knows.
    unsent: Vec<Message>,
    /// Why nobody knows.
    trouble: Option<String>,
}

impl Publisher {
    pub(crate) fn new(lanes: Lanes, declared: Declared, names: Names) -> Self {
        Self {
            lanes,
            declared,
            names,
        }
    }

    pub(crate) async fn check(&self) -> Result<(), QueueError> {
        let lane = self.lanes.take().await?;
        self.lanes.link().channel().await?;
        self.lanes.put_back(lane);
        Ok(())
    }

    /// Returns the messages that are not known to be safe.
    pub(crate) async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Message>, QueueError> {
        if messages.is_empty() {
            return Ok(messages);
        }
        let lane = self.lanes.take().await?;
        self.declared
            .ensure(self.lanes.link(), lane.generation(), queues(&messages))
            .await?;
        let mut outcome = self.send(lane.channel(), messages).await;
        if !outcome.unroutable.is_empty() && outcome.trouble.is_none() {
            // Queues were deleted behind our back. They are made again, once.
            let again = std::mem::take(&mut outcome.unroutable);
            self.declared.forget(queues(&again));
            let declared = self
                .declared
                .ensure(self.lanes.link(), lane.generation(), queues(&again))
                .await;
            match declared {
                Ok(()) => {
                    let second = self.send(lane.channel(), again).await;
                    outcome.unsent.extend(second.unroutable);
                    outcome.unsent.extend(second.unsent);
                    outcome.trouble = second.trouble;
                }
                Err(QueueError(error)) => {
                    outcome.unsent.extend(again);
                    outcome.trouble = Some(error);
                }
            }
        }
        outcome.unsent.append(&mut outcome.unroutable);
        match outcome.trouble {
            // The channel is dropped: confirms that come late must not be taken for those of the next publish.
            Some(trouble) => {
                let unsent = outcome.unsent.len();
                tracing::warn!(unsent, trouble, "messages are not known to be sent");
            }
            None => self.lanes.put_back(lane),
        }
        Ok(outcome.unsent)
    }

    async fn send(&self, channel: &Channel, messages: Vec<Message>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut unsafe_yet: HashMap<JobId, Message> = HashMap::with_capacity(messages.len());
        let mut returned: HashSet<JobId> = HashSet::new();
        unsafe_yet.extend(messages.iter().map(|message| (message.job, *message)));
        {
            let mut confirms = stream::iter(messages.iter().copied())
                .map(|message| self.send_one(channel, message))
                .buffer_unordered(CONFIRM_WINDOW);
            loop {
                match timeout(ANSWER_WITHIN, confirms.next()).await {
                    Ok(Some(Ok((job, confirmation)))) => {
                        if confirmation.is_ack() {
                            unsafe_yet.remove(&job);
                        }
                        // A returned message comes with whichever confirm is handled next, so only its own content
                        // tells which one it is.
                        if let Some(message) = confirmation.take_message() {
                            returned.extend(job_of(&message.delivery.data));
                        }
                    }
                    Ok(Some(Err(error))) => outcome.trouble = Some(error.to_string()),
                    Ok(None) => break,
                    Err(_) => {
                        outcome.trouble = Some("the broker does not confirm".to_owned());
                        break;
                    }
                }
            }
        }
        for message in messages {
            if returned.contains(&message.job) {
                outcome.unroutable.push(message);
            } else if unsafe_yet.contains_key(&message.job) {
                outcome.unsent.push(message);
            }
        }
        outcome
    }

    async fn send_one(
        &self,
        channel: &Channel,
        message: Message,
    ) -> lapin::Result<(JobId, Confirmation)> {
        let confirm = channel
            .basic_publish(
                // The default exchange: straight to the queue of that name.
                "".into(),
                self.names.queue(message.queue).into(),
                BasicPublishOptions {
                    mandatory: true,
                    ..BasicPublishOptions::default()
                },
                message.job.as_uuid().as_bytes(),
                BasicProperties::default().with_delivery_mode(PERSISTENT),
            )
            .await?;
        Ok((message.job, confirm.await?))
    }
}

fn queues(messages: &[Message]) -> impl Iterator<Item = domain::QueueKey> {
    messages.iter().map(|message| message.queue)
}

/// The job that a message's body names. `None`: the message is not one of ours.
pub(crate) fn job_of(body: &[u8]) -> Option<JobId> {
    Uuid::from_slice(body).ok().map(JobId::from_uuid)
}
