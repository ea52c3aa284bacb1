//! A broker that loses, doubles, delays, reorders and refuses wake-ups.

use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::EmbeddedQueue;
use application::ports::{JobQueue, QueueError, Receipt, Visit, Wakeups};
use async_trait::async_trait;
use domain::QueueKey;

use super::{Reach, Services, lock};

/// A late wake-up comes within this many milliseconds.
const LATE_MS: u64 = 8_000;

pub struct Queue(pub Reach);

impl Queue {
    async fn reach<T>(
        &self,
        name: &'static str,
        call: impl AsyncFnOnce(&EmbeddedQueue) -> Result<T, QueueError>,
    ) -> Result<T, QueueError> {
        let faults = self.0.process.world.plan.faults.queue;
        let queue = || broker(&self.0.services);
        let call = async || call(&queue()).await;
        self.0.call(name, faults, call, QueueError).await
    }

    /// What really becomes of each wake-up: those that arrive, and those that the broker has not.
    fn fate(&self, wakeups: &[Wakeups]) -> (Vec<Wakeups>, Vec<Wakeups>) {
        let world = &self.0.process.world;
        let faults = world.plan.faults.messages;
        let mut arrive = Vec::with_capacity(wakeups.len());
        let mut unsent = Vec::new();
        for one in wakeups.iter().flat_map(|wakeups| each(*wakeups)) {
            if world.strikes(faults.refused) {
                unsent.push(one);
                continue;
            }
            if world.strikes(faults.lost) {
                continue;
            }
            if world.strikes(faults.doubled) {
                arrive.push(one);
            }
            if world.strikes(faults.late) {
                self.deliver_late(one);
            } else {
                arrive.push(one);
            }
        }
        if world.strikes(faults.shuffled) {
            world.dice(|dice| dice.shuffle(&mut arrive));
        }
        (arrive, unsent)
    }

    fn deliver_late(&self, wakeup: Wakeups) {
        let services = Arc::clone(&self.0.services);
        let wait = self.0.process.world.dice(|dice| dice.u64(..LATE_MS));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            // The embedded broker takes everything.
            let _ = broker(&services).publish(vec![wakeup]).await;
        });
    }
}

/// One by one, as each has its own fate.
fn each(wakeups: Wakeups) -> impl Iterator<Item = Wakeups> {
    let queue = wakeups.queue;
    (0..wakeups.n).map(move |_| Wakeups { queue, n: 1 })
}

fn broker(services: &Services) -> Arc<EmbeddedQueue> {
    Arc::clone(&lock(&services.queue))
}

#[async_trait]
impl JobQueue for Queue {
    /// An error of this one means that nothing was sent, so an answer that is lost is not among its faults.
    async fn publish(&self, wakeups: Vec<Wakeups>) -> Result<Vec<Wakeups>, QueueError> {
        let mut faults = self.0.process.world.plan.faults.queue;
        faults.lose_answer = 0.0;
        let call = async || {
            let (arrive, unsent) = self.fate(&wakeups);
            broker(&self.0.services).publish(arrive).await?;
            Ok(unsent)
        };
        self.0.call("publish", faults, call, QueueError).await
    }

    async fn make(&self, queue: QueueKey) -> Result<(), QueueError> {
        broker(&self.0.services).make(queue).await
    }

    fn knows(&self, queue: QueueKey) -> bool {
        broker(&self.0.services).knows(queue)
    }

    async fn visit(&self, queue: QueueKey, n: u32) -> Result<Visit, QueueError> {
        self.reach("visit", async |broker| broker.visit(queue, n).await)
            .await
    }

    async fn ack(&self, receipt: Receipt) -> Result<(), QueueError> {
        self.reach("ack", async |broker| broker.ack(receipt).await)
            .await
    }

    async fn give_back(&self, receipt: Receipt) -> Result<(), QueueError> {
        self.reach("give_back", async |broker| broker.give_back(receipt).await)
            .await
    }

    async fn depth(&self, queue: QueueKey) -> Result<u32, QueueError> {
        self.reach("depth", async |broker| broker.depth(queue).await)
            .await
    }

    fn wakeups_a_message(&self) -> u32 {
        broker(&self.0.services).wakeups_a_message()
    }

    async fn has_marker(&self) -> Result<bool, QueueError> {
        self.reach("has_marker", async |broker| broker.has_marker().await)
            .await
    }

    async fn set_marker(&self) -> Result<(), QueueError> {
        self.reach("set_marker", async |broker| broker.set_marker().await)
            .await
    }

    async fn check(&self) -> Result<(), QueueError> {
        Ok(())
    }
}
