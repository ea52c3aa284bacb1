//! VISIT: take up to as many messages of one queue as there are slots for them, claim their jobs, run those claimed.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{ClaimRequest, Found, QueueError, Receipt, Visit};
use domain::QueueKey;
use tokio::sync::OwnedSemaphorePermit;

use crate::life::Worker;
use crate::run::run;

/// Pause after the broker failed, so that a broken one is not hammered.
const BROKER_PAUSE: Duration = Duration::from_millis(500);

/// `slots` has one permit for each message to take; what is not used is given back.
pub(crate) async fn visit(worker: Arc<Worker>, queue: QueueKey, slots: OwnedSemaphorePermit) {
    let n = u32::try_from(slots.num_permits()).unwrap_or(u32::MAX);
    let found = match worker.ports.queue.visit(queue, n).await {
        Ok(visit) if visit.jobs.is_empty() => {
            ack(&worker, visit.receipt).await;
            Found::Nothing
        }
        Ok(visit) => {
            claim(&worker, queue, visit, slots).await;
            Found::Something
        }
        Err(error) => {
            complain(&worker, queue, &error);
            tokio::time::sleep(BROKER_PAUSE).await;
            // Nothing is known of the queue.
            Found::Something
        }
    };
    if let Err(error) = worker.ports.ready.visited(queue, n, found).await {
        tracing::warn!(%error, "the ready set was not told of the end of a visit; the reconciler mends it");
    }
}

/// Claims the jobs of a visit and runs those that are ours.
async fn claim(
    worker: &Arc<Worker>,
    queue: QueueKey,
    visit: Visit,
    mut slots: OwnedSemaphorePermit,
) {
    let requests = visit
        .jobs
        .iter()
        .map(|job| ClaimRequest { queue, job: *job });
    let Ok(jobs) = worker.claims.claim(requests.collect()).await else {
        // The reason is logged where the claim failed.
        if let Err(error) = worker.ports.queue.give_back(visit.receipt).await {
            tracing::warn!(%error, "messages could not be given back; the broker returns them");
        }
        return;
    };
    for job in jobs {
        let Some(slot) = slots.split(1) else {
            // A claim never returns more than it was asked for.
            tracing::error!(job = %job.id, "claimed without a slot; its lease will return it");
            continue;
        };
        worker.runs.spawn(run(Arc::clone(worker), job, slot));
    }
    // Claimed, gone or unpublished: every message of the visit is dealt with.
    ack(worker, visit.receipt).await;
}

/// A lost ack brings harmless duplicates.
async fn ack(worker: &Worker, receipt: Receipt) {
    if let Err(error) = worker.ports.queue.ack(receipt).await {
        tracing::debug!(%error, "messages could not be acked; they will come again and be dropped");
    }
}

fn complain(worker: &Worker, queue: QueueKey, error: &QueueError) {
    tracing::warn!(%error, tenant = %queue.tenant, kind = %queue.kind, "the visit failed");
    let errors = &worker.metrics.engine_errors_total;
    errors.with_label_values(&["visit"]).inc();
}
