//! REPLAY: dead letters that somebody wants to run again are queued a batch at a time.

use std::sync::Arc;
use std::time::Duration;

use application::use_cases::step_replay;

use crate::life::Worker;
use crate::singleton;

/// Between looks while no replay runs, or the backlogs of their tenants have no room.
const REPLAY_EVERY: Duration = Duration::from_secs(1);
const CHORE: &str = "replay";

pub(crate) async fn replay_loop(worker: Arc<Worker>) {
    loop {
        let mut more = false;
        if singleton::is_mine(&worker, CHORE, REPLAY_EVERY * 2).await {
            more = step_replay(&worker.ports).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "a replay of dead letters cannot go on now");
                let errors = &worker.metrics.engine_errors_total;
                errors.with_label_values(&["replay"]).inc();
                false
            });
        }
        if more {
            worker.relay_nudge.notify_one();
        }
        let pause = if more { Duration::ZERO } else { REPLAY_EVERY };
        tokio::select! {
            biased;
            () = worker.over.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    singleton::give_up(&worker, CHORE).await;
}
