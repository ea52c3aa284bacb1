//! VISIT: take up to as many messages of one queue as there are slots for them, claim their jobs, run those claimed.

use std::sync::Arc;
use std::time::Duration;

use application::ports::ClaimRequest;
use domain::QueueKey;
use tokio::sync::OwnedSemaphorePermit;

use crate::life::Worker;
use crate::run::run;

/// Pause after the broker failed, so that a broken one is not hammered.
const BROKER_PAUSE: Duration = Duration::from_millis(500);

/// `slots` has one permit for each message to take; what is not used is given back.
pub(crate) async fn visit(worker: Arc<Worker>, queue: QueueKey, mut slots: OwnedSemaphorePermit) {
    let n = u32::try_from(slots.num_permits()).unwrap_or(u32::MAX);
    let visit = match worker.ports.queue.visit(queue, n).await {
        Ok(visit) => visit,
        Err(error) => {
            tracing::warn!(%error, tenant = %queue.tenant, kind = %queue.kind, "the visit failed");
            worker
                .metrics
                .engine_errors_total
                .with_label_values(&["visit"])
                .inc();
            tokio::time::sleep(BROKER_PAUSE).await;
            // Nothing was taken: the queue is as ready as it was.
            let _ = worker.ports.ready.arrived(&[queue]).await;
            return;
        }
    };
    if visit.jobs.is_empty() {
        let _ = worker.ports.queue.ack(visit.receipt).await;
        if let Err(error) = worker.ports.ready.visited_empty(queue).await {
            tracing::warn!(%error, "the ready set was not told of an empty queue");
        }
        return;
    }
    let requests = visit
        .jobs
        .iter()
        .map(|job| ClaimRequest { queue, job: *job })
        .collect();
    let Ok(jobs) = worker.claims.claim(requests).await else {
        // The reason is logged where the claim failed.
        if let Err(error) = worker.ports.queue.give_back(visit.receipt).await {
            tracing::warn!(%error, "messages could not be given back; the broker returns them");
        }
        let _ = worker.ports.ready.arrived(&[queue]).await;
        return;
    };
    for job in jobs {
        let Some(slot) = slots.split(1) else {
            // A claim never returns more than it was asked for.
            tracing::error!(job = %job.id, "claimed without a slot; its lease will return it");
            continue;
        };
        worker.runs.spawn(run(Arc::clone(&worker), job, slot));
    }
    drop(slots);
    // Claimed, gone or unpublished: every message of the visit is dealt with. A lost ack brings harmless duplicates.
    if let Err(error) = worker.ports.queue.ack(visit.receipt).await {
        tracing::debug!(%error, "messages could not be acked; they will come again and be dropped");
    }
}
