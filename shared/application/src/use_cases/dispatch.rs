//! After a commit: tell the broker, the ready set and the watchers. Nothing here can undo or fail the commit; what
//! cannot be told now is told by the relay or the reconciler later.

use domain::{QueueKey, SlotSnapshot};

use crate::ports::{Ports, Signal, Wakeups};

#[derive(Clone)]
pub struct Dispatcher {
    ports: Ports,
}

impl Dispatcher {
    pub fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// Sends wake-ups that are counted as published, takes the count back of those that the broker did not take, and
    /// notes the slots. True when all were sent.
    pub async fn dispatch(&self, wakeups: Vec<Wakeups>, slots: &[SlotSnapshot]) -> bool {
        if wakeups.is_empty() {
            self.note(slots).await;
            return true;
        }
        let queues: Vec<QueueKey> = wakeups.iter().map(|wakeups| wakeups.queue).collect();
        // The broker hands a message out before it has it safe, so the pickers need not wait for that. One who comes too
        // early is called again below. A queue that has to be made first would be looked for in vain.
        let (known, new): (Vec<SlotSnapshot>, Vec<SlotSnapshot>) = slots
            .iter()
            .partition(|slots| self.ports.queue.knows(slots.queue));
        let (published, ()) =
            tokio::join!(self.ports.queue.publish(wakeups.clone()), self.note(&known));
        let unsent = match published {
            Ok(unsent) => unsent,
            Err(error) => {
                tracing::warn!(%error, "the broker took no wake-ups; the relay will send them");
                wakeups
            }
        };
        self.note(&new).await;
        let all_sent = unsent.is_empty();
        if !all_sent {
            self.take_back(unsent).await;
        }
        if let Err(error) = self.ports.ready.arrived(&queues).await {
            tracing::warn!(%error, "the ready set was not told of new wake-ups");
        }
        all_sent
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

    async fn take_back(&self, unsent: Vec<Wakeups>) {
        match self.ports.engine.unpublish(unsent).await {
            Ok(slots) => self.note(&slots).await,
            Err(error) => {
                tracing::warn!(%error, "unsent wake-ups stay counted until the reconciler runs");
            }
        }
    }
}
