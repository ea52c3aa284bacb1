//! VISIT: take as many wake-ups of one queue as it was picked for, claim the jobs whose turn it is, run them.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{ClaimRequest, Found, QueueError, Visit, Visited};
use domain::{Job, QueueKey};
use tokio::sync::OwnedSemaphorePermit;

use crate::life::Worker;
use crate::pick::Turn;
use crate::run::{Start, run};

/// Pause after the broker or the store failed, so that a broken one is not hammered.
const PAUSE: Duration = Duration::from_millis(500);

/// `slots` has at least as many permits as the turn has jobs; what is not used is given back.
pub(crate) async fn visit(worker: Arc<Worker>, turn: Turn, mut slots: OwnedSemaphorePermit) {
    // What the pick did not need is another queue's at once.
    let spare = slots.num_permits().saturating_sub(turn.n as usize);
    drop(slots.split(spare));
    let (found, claimed) = match worker.ports.queue.visit(turn.queue, turn.n).await {
        Ok(visit) if visit.taken == 0 => {
            ack(&worker, turn.queue, visit).await;
            (Found::Nothing, 0)
        }
        Ok(visit) => (Found::Something, claim(&worker, turn, visit, slots).await),
        Err(error) => {
            complain(&worker, turn.queue, &error);
            drop(slots);
            tokio::time::sleep(PAUSE).await;
            // Nothing is known of the queue.
            (Found::Something, 0)
        }
    };
    let visited = Visited {
        queue: turn.queue,
        n: turn.n,
        claimed,
        estimate: turn.estimate,
        found,
    };
    if let Err(error) = worker.ports.ready.visited(visited).await {
        tracing::warn!(%error, "the ready set was not told of the end of a visit; the reconciler mends it");
    }
}

/// Claims for the wake-ups of a visit and runs what came of it. Returns how many jobs that are.
async fn claim(worker: &Arc<Worker>, turn: Turn, visit: Visit, slots: OwnedSemaphorePermit) -> u32 {
    let request = ClaimRequest {
        queue: turn.queue,
        wakeups: visit.taken,
        labelled: 0,
    };
    // Until its jobs are on the list of runs, or they would be taken for stranded.
    let under_way = worker.claims.under_way().begin();
    let Ok(share) = worker.claims.claim(request).await else {
        // The reason is logged where the claim failed.
        if let Err(error) = worker.ports.queue.give_back(visit.receipt).await {
            tracing::warn!(%error, "wake-ups could not be given back; the broker returns them");
        }
        drop((slots, under_way));
        tokio::time::sleep(PAUSE).await;
        arrived(worker, turn.queue).await;
        return 0;
    };
    let claimed = begin(worker, share.jobs, turn.estimate, slots);
    // Used up, whatever came of them.
    // What is in hand no longer stands in the snapshot that is told.
    tokio::join!(ack(worker, turn.queue, visit), share.told);
    claimed
}

/// Starts the runs of claimed jobs, each with a slot.
pub(crate) fn begin(
    worker: &Arc<Worker>,
    jobs: Vec<Job>,
    charged: f64,
    mut slots: OwnedSemaphorePermit,
) -> u32 {
    let mut begun = 0;
    for job in jobs {
        let Some(slot) = slots.split(1) else {
            // A claim never returns more than it was asked for.
            tracing::error!(job = %job.id, "claimed without a slot; its lease will return it");
            continue;
        };
        begun += 1;
        let entry = worker.running.enter(job.id);
        let start = Start {
            job,
            charged,
            entry,
        };
        worker.runs.spawn(run(Arc::clone(worker), start, slot));
    }
    begun
}

/// A lost ack brings harmless duplicates.
async fn ack(worker: &Worker, queue: QueueKey, visit: Visit) {
    if let Err(error) = worker.ports.queue.ack(visit.receipt).await {
        tracing::debug!(%error, "wake-ups could not be acked; they will come again for nothing");
    }
    if visit.beyond {
        arrived(worker, queue).await;
    }
}

/// Wake-ups are back in the queue: who found none there meanwhile may look again.
async fn arrived(worker: &Worker, queue: QueueKey) {
    if let Err(error) = worker.ports.ready.arrived(&[queue]).await {
        tracing::warn!(%error, "the ready set was not told of wake-ups that are back; the reconciler mends it");
    }
}

fn complain(worker: &Worker, queue: QueueKey, error: &QueueError) {
    tracing::warn!(%error, tenant = %queue.tenant, kind = %queue.kind, "the visit failed");
    let errors = &worker.metrics.engine_errors_total;
    errors.with_label_values(&["visit"]).inc();
}
