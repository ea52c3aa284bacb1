//! A bus that loses signals and refuses subscribers.

use application::ports::{BusError, EventBus, Interest, Signal, SignalStream};
use async_trait::async_trait;

use super::Reach;

pub struct Bus(pub Reach);

#[async_trait]
impl EventBus for Bus {
    async fn publish(&self, mut signals: Vec<Signal>) -> Result<(), BusError> {
        let world = &self.0.process.world;
        let faults = &world.plan.faults;
        signals.retain(|_| !world.strikes(faults.signals_lost));
        let bus = &self.0.services.bus;
        let call = async || bus.publish(signals).await;
        self.0.call("signal", faults.bus, call, BusError).await
    }

    async fn subscribe(&self, interest: Interest) -> Result<SignalStream, BusError> {
        let faults = self.0.process.world.plan.faults.bus;
        let bus = &self.0.services.bus;
        let call = async || bus.subscribe(interest).await;
        self.0.call("subscribe", faults, call, BusError).await
    }
}
