//! PROMOTE: jobs whose `run_after` has come become due: those that were asked for later, and those that failed and wait
//! out their backoff.

use std::sync::Arc;
use std::time::Duration;

use application::ports::StoreError;

use crate::life::Worker;
use crate::singleton;

/// Jobs promoted in one transaction.
const PROMOTE_BATCH: u32 = 1_000;
const CHORE: &str = "promote";
/// No shorter pause, however soon the next job is due.
const PAUSE_MIN: Duration = Duration::from_millis(5);

pub(crate) async fn promote_loop(worker: Arc<Worker>) {
    let every = worker.config.promote_every;
    loop {
        let pause = if singleton::is_mine(&worker, CHORE, every * 4).await {
            promote(&worker).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "jobs whose time has come could not be looked for");
                let errors = &worker.metrics.engine_errors_total;
                errors.with_label_values(&["promote"]).inc();
                every * 4
            })
        } else {
            every
        };
        tokio::select! {
            biased;
            () = worker.over.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    singleton::give_up(&worker, CHORE).await;
}

/// Returns the pause until it should be looked again.
async fn promote(worker: &Worker) -> Result<Duration, StoreError> {
    loop {
        let now = worker.ports.clock.now();
        let promoted = worker.ports.engine.promote(PROMOTE_BATCH, now).await?;
        if promoted.jobs > 0 {
            worker.dispatcher.note(&promoted.slots).await;
            worker.relay_nudge.notify_one();
        }
        if promoted.jobs < PROMOTE_BATCH {
            let every = worker.config.promote_every;
            let next = promoted
                .next
                .map(|next| (next - now).to_std().unwrap_or_default());
            return Ok(next.map_or(every, |next| next.clamp(PAUSE_MIN, every)));
        }
    }
}
