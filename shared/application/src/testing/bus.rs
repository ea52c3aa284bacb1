//! What every [`EventBus`] must do.

use std::sync::Arc;
use std::time::Duration;

use domain::{JobId, TenantId, WorkerId};
use futures::StreamExt;
use tokio::time::timeout;
use uuid::Uuid;

use crate::ports::{EventBus, Interest, Signal, SignalStream};

const COMES_WITHIN: Duration = Duration::from_secs(10);

#[macro_export]
macro_rules! bus_contract {
    ($open:expr) => {
        $crate::port_contract!(
            bus,
            $open,
            [
                a_signal_reaches_every_subscriber,
                signals_come_in_order,
                interests_do_not_mix,
                nobody_is_told_what_was_before,
                publishing_without_subscribers_is_fine,
                one_that_leaves_does_not_take_others_along,
                an_interest_can_be_taken_up_again,
                a_slow_subscriber_is_told_that_it_missed_some,
                missed_is_not_a_signal_to_send,
                streams_end_with_the_bus,
            ]
        );
    };
}

type Bus = Arc<dyn EventBus>;

fn tenant(number: u128) -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(number))
}

fn worker(number: u128) -> WorkerId {
    WorkerId::from_uuid(Uuid::from_u128(number))
}

fn changed(of: u128, job: u128) -> Signal {
    Signal::JobChanged {
        tenant: tenant(of),
        job: JobId::from_uuid(Uuid::from_u128(job)),
    }
}

async fn publish(port: &Bus, signals: impl Into<Vec<Signal>>) {
    port.publish(signals.into()).await.expect("publish");
}

async fn subscribe(port: &Bus, interest: Interest) -> SignalStream {
    port.subscribe(interest).await.expect("subscribe")
}

async fn watch(port: &Bus, of: u128) -> SignalStream {
    subscribe(port, Interest::Tenant(tenant(of))).await
}

async fn next(stream: &mut SignalStream) -> Signal {
    timeout(COMES_WITHIN, stream.next())
        .await
        .expect("no signal came")
        .expect("the stream ended")
}

/// Nothing is in the stream: what is sent now is what comes next.
async fn assert_silent(port: &Bus, stream: &mut SignalStream, of: u128) {
    let last = changed(of, u128::MAX);
    publish(port, [last]).await;
    assert_eq!(next(stream).await, last);
}

pub async fn a_signal_reaches_every_subscriber(port: Bus) {
    let mut one = watch(&port, 1).await;
    let mut two = watch(&port, 1).await;
    publish(&port, [changed(1, 7)]).await;
    assert_eq!(next(&mut one).await, changed(1, 7));
    assert_eq!(next(&mut two).await, changed(1, 7));
}

pub async fn signals_come_in_order(port: Bus) {
    let mut stream = watch(&port, 1).await;
    let log = Signal::LogWritten {
        tenant: tenant(1),
        job: JobId::from_uuid(Uuid::from_u128(2)),
    };
    publish(&port, [changed(1, 1), log, changed(1, 3)]).await;
    publish(&port, [changed(1, 4)]).await;
    for expected in [changed(1, 1), log, changed(1, 3), changed(1, 4)] {
        assert_eq!(next(&mut stream).await, expected);
    }
}

pub async fn interests_do_not_mix(port: Bus) {
    let mut one = watch(&port, 1).await;
    let mut two = watch(&port, 2).await;
    // The same number on purpose: a worker is not a tenant.
    let mut stops = subscribe(&port, Interest::Worker(worker(1))).await;
    let stop = |number| Signal::StopRequested {
        worker: worker(number),
        job: JobId::from_uuid(Uuid::from_u128(5)),
    };
    publish(&port, [changed(2, 1), stop(2), stop(1), changed(1, 2)]).await;
    assert_eq!(next(&mut one).await, changed(1, 2));
    assert_eq!(next(&mut two).await, changed(2, 1));
    assert_eq!(next(&mut stops).await, stop(1));
    assert_silent(&port, &mut one, 1).await;
    assert_silent(&port, &mut two, 2).await;
}

pub async fn nobody_is_told_what_was_before(port: Bus) {
    publish(&port, [changed(1, 1)]).await;
    let mut stream = watch(&port, 1).await;
    publish(&port, [changed(1, 2)]).await;
    assert_eq!(next(&mut stream).await, changed(1, 2));
}

pub async fn publishing_without_subscribers_is_fine(port: Bus) {
    publish(&port, []).await;
    publish(&port, [changed(1, 1), changed(2, 1)]).await;
}

pub async fn one_that_leaves_does_not_take_others_along(port: Bus) {
    let first = watch(&port, 1).await;
    let mut second = watch(&port, 1).await;
    let third = watch(&port, 1).await;
    drop(first);
    drop(third);
    publish(&port, [changed(1, 1)]).await;
    assert_eq!(next(&mut second).await, changed(1, 1));
}

pub async fn an_interest_can_be_taken_up_again(port: Bus) {
    for round in 0..20 {
        let mut stream = watch(&port, 1).await;
        publish(&port, [changed(1, round)]).await;
        assert_eq!(next(&mut stream).await, changed(1, round));
        drop(stream);
    }
}

pub async fn a_slow_subscriber_is_told_that_it_missed_some(port: Bus) {
    const SIGNALS: u128 = 20_000;
    let mut slow = watch(&port, 1).await;
    let mut other = watch(&port, 2).await;
    for first in (0..SIGNALS).step_by(1_000) {
        let signals: Vec<Signal> = (first..first + 1_000).map(|job| changed(1, job)).collect();
        publish(&port, signals).await;
    }
    // The bus has taken all of the above once this one is through.
    publish(&port, [changed(2, 1)]).await;
    assert_eq!(next(&mut other).await, changed(2, 1));

    let mut missed = 0;
    let mut seen: u128 = 0;
    loop {
        match next(&mut slow).await {
            Signal::Missed => missed += 1,
            signal => {
                seen += 1;
                if signal == changed(1, SIGNALS - 1) {
                    break;
                }
            }
        }
    }
    assert!(missed > 0, "20,000 signals were kept for one who sleeps");
    assert!(seen < SIGNALS);
    assert_silent(&port, &mut slow, 1).await;
}

pub async fn missed_is_not_a_signal_to_send(port: Bus) {
    let mut stream = watch(&port, 1).await;
    publish(&port, [Signal::Missed]).await;
    assert_silent(&port, &mut stream, 1).await;
}

pub async fn streams_end_with_the_bus(port: Bus) {
    let mut stream = watch(&port, 1).await;
    publish(&port, [changed(1, 1)]).await;
    drop(port);
    let rest = timeout(COMES_WITHIN, async {
        while stream.next().await.is_some() {}
    });
    rest.await.expect("the stream goes on without its bus");
}
