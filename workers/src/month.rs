//! TURN: tenants that had used up what they may in a month start sessions again when the next one begins.

use std::sync::Arc;
use std::time::Duration;

use application::ports::StoreError;

use crate::life::Worker;
use crate::singleton;

/// Nobody waits longer for the new month.
const TURN_EVERY: Duration = Duration::from_secs(1);
const CHORE: &str = "month";

pub(crate) async fn month_loop(worker: Arc<Worker>) {
    loop {
        if singleton::is_mine(&worker, CHORE, TURN_EVERY * 2).await
            && let Err(error) = turn(&worker).await
        {
            tracing::warn!(%error, "tenants whose month has ended could not be looked for");
            let errors = &worker.metrics.engine_errors_total;
            errors.with_label_values(&["month"]).inc();
        }
        tokio::select! {
            biased;
            () = worker.over.cancelled() => break,
            () = tokio::time::sleep(TURN_EVERY) => {}
        }
    }
    singleton::give_up(&worker, CHORE).await;
}

async fn turn(worker: &Worker) -> Result<(), StoreError> {
    let now = worker.ports.clock.now();
    let slots = worker.ports.engine.turn_months(now).await?;
    if !slots.is_empty() {
        tracing::info!(
            queues = slots.len(),
            "a month has ended for tenants that had used it up"
        );
        worker.dispatcher.note(&slots).await;
        worker.relay_nudge.notify_one();
    }
    Ok(())
}
