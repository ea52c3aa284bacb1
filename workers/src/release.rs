//! RELEASE: jobs whose prerequisites have ended begin to wait for a slot, or end with them. Nudged by the ends of this
//! worker's runs; a timer catches what others left.

use std::sync::Arc;
use std::time::Duration;

use application::use_cases::release_jobs;

use crate::life::Worker;
use crate::singleton;

const RELEASE_EVERY: Duration = Duration::from_secs(1);
const CHORE: &str = "release";

pub(crate) async fn release_loop(worker: Arc<Worker>) {
    let mut nudged = true;
    loop {
        if nudged || singleton::is_mine(&worker, CHORE, RELEASE_EVERY * 2).await {
            release(&worker).await;
        }
        nudged = tokio::select! {
            biased;
            () = worker.over.cancelled() => break,
            () = worker.release_nudge.notified() => true,
            () = tokio::time::sleep(RELEASE_EVERY) => false,
        };
    }
    singleton::give_up(&worker, CHORE).await;
}

async fn release(worker: &Worker) {
    match release_jobs(&worker.ports).await {
        Ok(0) => {}
        Ok(_) => worker.relay_nudge.notify_one(),
        Err(error) => {
            tracing::warn!(%error, "jobs whose prerequisites have ended could not be looked for");
            let errors = &worker.metrics.engine_errors_total;
            errors.with_label_values(&["release"]).inc();
        }
    }
}
