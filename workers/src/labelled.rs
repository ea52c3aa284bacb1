//! Jobs that ask for labels have no wake-ups, which any worker could take in vain: a worker that has labels asks the store
//! for them. They are few and long, so a question now and then is cheaper than a queue for every set of labels.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{ClaimRequest, PICK_MAX, StoreError};
use domain::QueueKey;
use tokio::sync::OwnedSemaphorePermit;

use crate::claim::NotClaimed;
use crate::claim_loop::free_slots;
use crate::life::Worker;
use crate::visit::begin;

/// Between questions while there is nothing; one that finds something is asked again at once.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Queues that one answer names.
const QUEUES: u32 = 16;

/// Ends at once for a worker without labels.
pub(crate) async fn labelled_loop(worker: Arc<Worker>) {
    if worker.config.labels.is_empty() {
        return;
    }
    let stop = worker.draining.clone();
    loop {
        let round = async {
            match claim_some(&worker).await {
                Ok(0) => tokio::time::sleep(ASK_EVERY).await,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "jobs that ask for labels could not be looked for");
                    let errors = &worker.metrics.engine_errors_total;
                    errors.with_label_values(&["labelled"]).inc();
                    tokio::time::sleep(ASK_EVERY * 2).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = worker.over.cancelled() => return,
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}

/// Returns how many jobs were begun.
async fn claim_some(worker: &Arc<Worker>) -> Result<u32, StoreError> {
    let config = &worker.config;
    let now = worker.ports.clock.now();
    let queues = worker
        .ports
        .engine
        .labelled(&config.kinds, &config.labels, QUEUES, now)
        .await?;
    let mut begun = 0;
    for (queue, waiting) in queues {
        let Some(slots) = free_slots(worker, waiting.min(PICK_MAX)).await else {
            break;
        };
        // Nobody drops it half-way: what is claimed is begun.
        let claiming = claim(Arc::clone(worker), queue, slots);
        begun += worker.runs.spawn(claiming).await.unwrap_or(0);
    }
    Ok(begun)
}

/// Returns how many jobs of the queue were begun.
async fn claim(worker: Arc<Worker>, queue: QueueKey, slots: OwnedSemaphorePermit) -> u32 {
    let request = ClaimRequest {
        queue,
        wakeups: 0,
        labelled: u32::try_from(slots.num_permits()).unwrap_or(u32::MAX),
    };
    // Until its jobs are on the list of runs, or they would be taken for stranded.
    let _under_way = worker.claims.under_way().begin();
    match worker.claims.claim(request).await {
        // No turn was taken for them: all that they take is charged at their end.
        Ok(share) => begin(&worker, share.jobs, 0.0, slots),
        // The reason is logged where the claim failed.
        Err(NotClaimed) => 0,
    }
}
