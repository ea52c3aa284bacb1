use std::collections::HashMap;

use application::ports::{BusError, EventBus, Interest, Signal, SignalStream};
use async_trait::async_trait;

use crate::Redis;
use crate::link::{Call, OnBreak};

/// Signals in one message. A subscriber that is cut off in the middle of a message gets none of it.
const SIGNALS_PER_MESSAGE: usize = 100;

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
impl EventBus for Redis {
    async fn publish(&self, signals: Vec<Signal>) -> Result<(), BusError> {
        let mut by_interest: HashMap<Interest, Vec<Signal>> = HashMap::new();
        for signal in signals {
            if let Some(interest) = interest(&signal) {
                by_interest.entry(interest).or_default().push(signal);
            }
        }
        if by_interest.is_empty() {
            return Ok(());
        }
        let mut round_trip = redis::pipe();
        for (interest, signals) in by_interest {
            let channel = self.keys.channel(interest);
            for chunk in signals.chunks(SIGNALS_PER_MESSAGE) {
                let text =
                    serde_json::to_string(chunk).map_err(|error| BusError(error.to_string()))?;
                round_trip.publish(&channel, text).ignore();
            }
        }
        self.link
            .call(Call::Pipeline(&round_trip), OnBreak::Repeat)
            .await
            .map_err(|error| BusError(error.0))
    }

    async fn subscribe(&self, interest: Interest) -> Result<SignalStream, BusError> {
        self.subscriber
            .subscribe(self.keys.channel(interest))
            .await
            .map_err(|error| BusError(error.0))
    }
}
