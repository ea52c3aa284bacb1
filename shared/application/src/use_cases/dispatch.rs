//! After a commit: tell the broker, the ready set and the watchers. Nothing here can undo or fail the commit; what
//! cannot be told now is told by the relay or the reconciler later.

use domain::{QueueKey, SlotSnapshot};

use crate::ports::{Message, Ports, Signal};

#[derive(Clone)]
pub struct Dispatcher {
    ports: Ports,
}

impl Dispatcher {
    pub fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// Sends messages that are marked published, takes the mark back from those that the broker did not take, and
    /// notes the slots. Returns how many messages were sent.
    pub async fn dispatch(&self, messages: Vec<Message>, slots: &[SlotSnapshot]) -> usize {
        if messages.is_empty() {
            self.note(slots).await;
            return 0;
        }
        let count = messages.len();
        let mut queues: Vec<QueueKey> = messages.iter().map(|message| message.queue).collect();
        queues.sort_unstable();
        queues.dedup();
        let unsent = match self.ports.queue.publish(messages.clone()).await {
            Ok(unsent) => unsent,
            Err(error) => {
                tracing::warn!(%error, count, "the broker took no messages; the relay will send them");
                messages
            }
        };
        let sent = count - unsent.len();
        self.note(slots).await;
        if !unsent.is_empty() {
            self.take_back(unsent).await;
        }
        if sent > 0
            && let Err(error) = self.ports.ready.arrived(&queues).await
        {
            tracing::warn!(%error, "the ready set was not told of new messages");
        }
        sent
    }

    /// Hands snapshots to the ready set.
    pub async fn note(&self, slots: &[SlotSnapshot]) {
        if slots.is_empty() {
            return;
        }
        if let Err(error) = self.ports.ready.note(slots).await {
            tracing::warn!(%error, "the ready set was not told of changed slots");
        }
    }

    /// Tells the watchers.
    pub async fn signal(&self, signals: Vec<Signal>) {
        if signals.is_empty() {
            return;
        }
        if let Err(error) = self.ports.bus.publish(signals).await {
            tracing::warn!(%error, "watchers were not told of a change");
        }
    }

    async fn take_back(&self, unsent: Vec<Message>) {
        match self.ports.engine.unpublish(unsent).await {
            Ok(slots) => self.note(&slots).await,
            Err(error) => {
                tracing::warn!(%error, "unsent messages stay marked until the reconciler runs");
            }
        }
    }
}
