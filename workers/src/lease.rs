//! One lease a worker. It is renewed every third of its length; its end is measured on this process's own monotonic
//! clock from before each request was sent, so a slow answer or a jumping wall clock never makes it longer. Past its
//! end everything this worker runs is stopped, whether or not the store can be reached.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::{Interest, Interruption, LeaseError, Signal};
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::life::Worker;
use crate::stranded::Stranded;

/// Between tries while the store cannot be reached, as a fraction of the lease.
const RETRY_FRACTION: u32 = 12;
/// Before the signals are listened to again after the bus failed.
const LISTEN_RETRY: Duration = Duration::from_secs(1);

/// When the lease ends, for whoever is about to begin something: a process that was frozen goes on where it stood, and
/// may get there before the end of its lease is acted upon.
pub(crate) struct LeaseEnd(Mutex<Instant>);

impl LeaseEnd {
    pub fn new(ends: Instant) -> Self {
        Self(Mutex::new(ends))
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= *self.lock()
    }

    fn set(&self, ends: Instant) {
        *self.lock() = ends;
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews until the life is over; ends the life when the lease is lost. `begun` is from before the registration.
pub(crate) async fn keep(worker: Arc<Worker>, begun: Instant) {
    let lease = worker.config.lease;
    let mut stranded = Stranded::default();
    let mut ends = begun + lease;
    let mut next = begun + lease / 3;
    loop {
        tokio::select! {
            biased;
            () = worker.over.cancelled() => return,
            () = tokio::time::sleep_until(next.min(ends)) => {}
        }
        let asked = Instant::now();
        if asked >= ends {
            tracing::error!(worker = %worker.me.id, "the lease ran out before it could be renewed");
            return worker.over.cancel();
        }
        match tokio::time::timeout_at(ends, renew(&worker, &mut stranded)).await {
            Ok(Ok(())) => {
                ends = asked + lease;
                worker.lease_end.set(ends);
                next = asked + lease / 3;
                worker
                    .metrics
                    .lease_renew_seconds
                    .observe(asked.elapsed().as_secs_f64());
            }
            Ok(Err(LeaseError::Lost(_))) => {
                tracing::error!(worker = %worker.me.id, "the lease was taken away");
                return worker.over.cancel();
            }
            Ok(Err(LeaseError::Store(error))) => {
                tracing::warn!(%error, "the lease could not be renewed; trying again");
                worker
                    .metrics
                    .engine_errors_total
                    .with_label_values(&["lease"])
                    .inc();
                next = Instant::now() + lease / RETRY_FRACTION;
            }
            // The lease's end came while waiting; the next round sees it.
            Err(_) => next = ends,
        }
    }
}

async fn renew(worker: &Arc<Worker>, stranded: &mut Stranded) -> Result<(), LeaseError> {
    let now = worker.ports.clock.now();
    let until = now + worker.config.lease;
    let renewal = worker
        .ports
        .engine
        .renew_lease(worker.me, until, now)
        .await?;
    for job in renewal.stop_requested {
        worker.running.interrupt(job, Interruption::Stop);
    }
    for job in renewal.pause_requested {
        worker.running.interrupt(job, Interruption::Pause);
    }
    stranded.look(worker, renewal.held);
    Ok(())
}

/// Hears of stops and pauses at once; what is missed here is seen at the next renewal.
pub(crate) async fn listen(worker: Arc<Worker>) {
    loop {
        let subscribed = worker
            .ports
            .bus
            .subscribe(Interest::Worker(worker.me.id))
            .await;
        match subscribed {
            Ok(mut signals) => loop {
                tokio::select! {
                    biased;
                    () = worker.over.cancelled() => return,
                    signal = signals.next() => match signal {
                        Some(Signal::StopRequested { job, .. }) => {
                            worker.running.interrupt(job, Interruption::Stop);
                        }
                        Some(Signal::PauseRequested { job, .. }) => {
                            worker.running.interrupt(job, Interruption::Pause);
                        }
                        Some(_) => {}
                        None => break,
                    },
                }
            },
            Err(error) => {
                tracing::warn!(%error, "signals of stops are not heard; renewals tell of them");
            }
        }
        tokio::select! {
            biased;
            () = worker.over.cancelled() => return,
            () = tokio::time::sleep(LISTEN_RETRY) => {}
        }
    }
}
