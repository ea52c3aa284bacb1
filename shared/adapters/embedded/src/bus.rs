use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use application::ports::{BusError, EventBus, Interest, Signal, SignalStream};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::mutex::lock;

/// Signals kept for a subscriber that does not keep up; beyond them it is told that it missed some. A slot is made for
/// each ahead of time, so this is memory for every interest.
const SIGNALS_KEPT: usize = 256;

/// The event bus of one process.
#[derive(Debug, Default)]
pub struct EmbeddedBus {
    /// Only interests that somebody has.
    interests: Arc<Mutex<Interests>>,
}

type Interests = HashMap<Interest, broadcast::Sender<Signal>>;

/// Who is told. `None`: nobody, it is not a signal to send.
const fn interest(signal: &Signal) -> Option<Interest> {
    match signal {
        Signal::JobChanged { tenant, .. } | Signal::LogWritten { tenant, .. } => {
            Some(Interest::Tenant(*tenant))
        }
        Signal::StopRequested { worker, .. } | Signal::PauseRequested { worker, .. } => {
            Some(Interest::Worker(*worker))
        }
        Signal::Missed => None,
    }
}

#[async_trait]
impl EventBus for EmbeddedBus {
    async fn publish(&self, signals: Vec<Signal>) -> Result<(), BusError> {
        let interests = lock(&self.interests);
        for signal in signals {
            let sender = interest(&signal).and_then(|interest| interests.get(&interest));
            if let Some(sender) = sender {
                // An error means that the last subscriber is just leaving.
                let _ = sender.send(signal);
            }
        }
        Ok(())
    }

    async fn subscribe(&self, interest: Interest) -> Result<SignalStream, BusError> {
        let receiver = lock(&self.interests)
            .entry(interest)
            .or_insert_with(|| broadcast::Sender::new(SIGNALS_KEPT))
            .subscribe();
        let subscription = Subscription {
            receiver: Some(receiver),
            interest,
            interests: Arc::downgrade(&self.interests),
        };
        Ok(stream::unfold(subscription, Subscription::next).boxed())
    }
}

struct Subscription {
    /// Taken out when the subscription ends.
    receiver: Option<broadcast::Receiver<Signal>>,
    interest: Interest,
    interests: Weak<Mutex<Interests>>,
}

impl Subscription {
    async fn next(mut self) -> Option<(Signal, Self)> {
        match self.receiver.as_mut()?.recv().await {
            Ok(signal) => Some((signal, self)),
            Err(RecvError::Lagged(_)) => Some((Signal::Missed, self)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.receiver = None;
        let Some(interests) = self.interests.upgrade() else {
            return;
        };
        let mut interests = lock(&interests);
        let nobody_left = interests
            .get(&self.interest)
            .is_some_and(|sender| sender.receiver_count() == 0);
        if nobody_left {
            interests.remove(&self.interest);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::TenantId;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn an_interest_that_nobody_has_any_more_is_forgotten() {
        let bus = EmbeddedBus::default();
        let tenant = Interest::Tenant(TenantId::from_uuid(Uuid::from_u128(1)));
        let one = bus.subscribe(tenant).await.unwrap();
        let two = bus.subscribe(tenant).await.unwrap();
        drop(one);
        assert_eq!(lock(&bus.interests).len(), 1);
        drop(two);
        assert!(lock(&bus.interests).is_empty());
    }
}
