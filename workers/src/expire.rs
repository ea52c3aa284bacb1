//! EXPIRE: waiting jobs whose deadline has come fail. Those that run are ended by their own worker.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Signal, StoreError};

use crate::life::Worker;
use crate::singleton;

/// Jobs failed in one transaction.
const EXPIRE_BATCH: u32 = 500;
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
const CHORE: &str = "expire";

pub(crate) async fn expire_loop(worker: Arc<Worker>) {
    loop {
        if singleton::is_mine(&worker, CHORE, EXPIRE_EVERY * 2).await
            && let Err(error) = expire(&worker).await
        {
            tracing::warn!(%error, "jobs past their deadline could not be looked for");
            let errors = &worker.metrics.engine_errors_total;
            errors.with_label_values(&["expire"]).inc();
        }
        tokio::select! {
            biased;
            () = worker.over.cancelled() => break,
            () = tokio::time::sleep(EXPIRE_EVERY) => {}
        }
    }
    singleton::give_up(&worker, CHORE).await;
}

async fn expire(worker: &Worker) -> Result<(), StoreError> {
    loop {
        let now = worker.ports.clock.now();
        let expired = worker.ports.engine.expire(EXPIRE_BATCH, now).await?;
        let count = expired.jobs.len();
        worker.dispatcher.note(&expired.slots).await;
        if expired.to_release {
            worker.release_nudge.notify_one();
        }
        for job in &expired.jobs {
            tracing::info!(job = %job.id, tenant = %job.tenant, "the job's deadline has passed");
            let finished = &worker.metrics.jobs_finished_total;
            finished
                .with_label_values(&[job.kind().as_str(), job.state().as_str()])
                .inc();
        }
        let signals = expired.jobs.iter().map(|job| Signal::JobChanged {
            tenant: job.tenant,
            job: job.id,
        });
        worker.dispatcher.signal(signals.collect()).await;
        if count < EXPIRE_BATCH as usize {
            return Ok(());
        }
    }
}
