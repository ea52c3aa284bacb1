//! RELAY: sees to it that the broker holds a wake-up for every due job, as far as each queue's window goes. Nudged when a
//! queue has room; a timer catches what a crash left.

use std::sync::Arc;
use std::time::Duration;

use application::ports::StoreError;

use crate::life::Worker;

/// Wake-ups counted and sent in one step.
const RELAY_BATCH: u32 = 1_000;
/// Rest after each round: nudges that come close together share the next one.
const ROUND_PAUSE: Duration = Duration::from_millis(5);
/// Rest after the broker or the store failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn relay_loop(worker: Arc<Worker>) {
    loop {
        let pause = match relay(&worker).await {
            Ok(true) => ROUND_PAUSE,
            Ok(false) => FAILURE_PAUSE,
            Err(error) => {
                tracing::warn!(%error, "the relay could not read what to send");
                worker
                    .metrics
                    .engine_errors_total
                    .with_label_values(&["relay"])
                    .inc();
                FAILURE_PAUSE
            }
        };
        let next = async {
            tokio::time::sleep(pause).await;
            let _ = tokio::time::timeout(worker.config.relay_every, worker.relay_nudge.notified())
                .await;
        };
        tokio::select! {
            biased;
            () = worker.over.cancelled() => return,
            () = next => {}
        }
    }
}

/// Sends until no queue wants more. False when the broker did not take all.
async fn relay(worker: &Worker) -> Result<bool, StoreError> {
    loop {
        if worker.over.is_cancelled() {
            return Ok(true);
        }
        let now = worker.ports.clock.now();
        let relayed = worker.ports.engine.relay(RELAY_BATCH, now).await?;
        let dispatcher = &worker.dispatcher;
        if !dispatcher.dispatch(relayed.publish, &relayed.slots).await {
            return Ok(false);
        }
        if !relayed.more {
            return Ok(true);
        }
    }
}
