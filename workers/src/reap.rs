//! REAP: takes jobs back from workers that were not heard of for a lease and a grace.

use std::sync::Arc;

use application::ports::{Signal, StoreError};

use crate::life::Worker;
use crate::singleton;

/// Jobs taken back in one transaction.
const REAP_BATCH: u32 = 500;
const CHORE: &str = "reap";

pub(crate) async fn reap_loop(worker: Arc<Worker>) {
    // Often enough that reaping adds little to lease and grace.
    let every = worker.config.lease.min(worker.config.grace * 2) / 6;
    loop {
        // At once when a worker starts: the one before it may have died.
        if singleton::is_mine(&worker, CHORE, every * 2).await
            && let Err(error) = reap(&worker).await
        {
            tracing::warn!(%error, "dead workers could not be looked for");
            worker
                .metrics
                .engine_errors_total
                .with_label_values(&["reap"])
                .inc();
        }
        tokio::select! {
            biased;
            () = worker.over.cancelled() => break,
            () = tokio::time::sleep(every) => {}
        }
    }
    singleton::give_up(&worker, CHORE).await;
}

async fn reap(worker: &Worker) -> Result<(), StoreError> {
    loop {
        let now = worker.ports.clock.now();
        let reaped = worker
            .ports
            .engine
            .reap(worker.config.grace, REAP_BATCH, now)
            .await?;
        if reaped.workers.is_empty() && reaped.jobs.is_empty() {
            return Ok(());
        }
        for dead in &reaped.workers {
            tracing::warn!(worker = %dead.id, "a worker was not heard of and is given up");
        }
        worker
            .metrics
            .workers_reaped_total
            .inc_by(reaped.workers.len() as u64);
        worker
            .metrics
            .jobs_reaped_total
            .inc_by(reaped.jobs.len() as u64);
        worker.dispatcher.note(&reaped.slots).await;
        worker.relay_nudge.notify_one();
        if reaped.to_release {
            worker.release_nudge.notify_one();
        }
        let signals = reaped.jobs.iter().map(|job| Signal::JobChanged {
            tenant: job.tenant,
            job: job.id,
        });
        worker.dispatcher.signal(signals.collect()).await;
        if reaped.jobs.len() < REAP_BATCH as usize {
            return Ok(());
        }
    }
}
