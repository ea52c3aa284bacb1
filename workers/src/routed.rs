//! Sessions that are routed have no wake-ups: whether one can begin depends on agents that any end of a run, heartbeat or
//! registration may make free. Workers ask the store for them, which gives each its agent with the claim.
//!
//! A session that waits costs nothing but a part of that question; it is not claimed until it has an agent.

use std::sync::Arc;
use std::time::Duration;

use application::ports::LeaseError;
use domain::{JobKind, RegisteredKind, RoutedOffer};
use tokio::sync::OwnedSemaphorePermit;

use crate::claim::signals;
use crate::claim_loop::free_slots;
use crate::life::Worker;
use crate::visit::begin;

/// Between questions while there is nothing; one that finds something is asked again at once.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// Sessions that one claim brings at most, so that other queues have their turns.
const AT_ONCE: u32 = 32;

/// Ends at once for a worker that runs no sessions.
pub(crate) async fn routed_loop(worker: Arc<Worker>) {
    if !worker.config.kinds.contains(&JobKind::Session) {
        return;
    }
    let agents = worker.tools.agents.iter();
    let kinds: Vec<RegisteredKind> = agents.map(|agent| agent.kind().into()).collect();
    let stop = worker.draining.clone();
    let mut by_lot = false;
    loop {
        let round = async {
            let Some(slots) = free_slots(&worker, AT_ONCE).await else {
                return;
            };
            // Nobody drops it half-way: what is claimed is begun.
            let claiming = claim_some(Arc::clone(&worker), kinds.clone(), slots, by_lot);
            let claimed = worker.runs.spawn(claiming).await;
            match claimed.unwrap_or(Ok(0)) {
                // Every other question goes to others than those who come first.
                Ok(0) => {
                    by_lot = !by_lot;
                    tokio::time::sleep(ASK_EVERY).await;
                }
                Ok(_) => by_lot = false,
                Err(error) => {
                    tracing::warn!(%error, "sessions that are routed could not be claimed");
                    let errors = &worker.metrics.engine_errors_total;
                    errors.with_label_values(&["routed"]).inc();
                    if matches!(error, LeaseError::Lost(_)) {
                        worker.over.cancel();
                    }
                    tokio::time::sleep(ASK_EVERY * 4).await;
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

/// Returns how many sessions were begun.
async fn claim_some(
    worker: Arc<Worker>,
    kinds: Vec<RegisteredKind>,
    slots: OwnedSemaphorePermit,
    by_lot: bool,
) -> Result<u32, LeaseError> {
    let offer = RoutedOffer {
        by_lot,
        kinds,
        labels: worker.config.labels.clone(),
        most: u32::try_from(slots.num_permits()).unwrap_or(u32::MAX),
    };
    // Until its jobs are on the list of runs, or they would be taken for stranded.
    let _under_way = worker.claims.under_way().begin();
    let now = worker.ports.clock.now();
    let claimed = worker
        .ports
        .agents
        .claim_routed(worker.me, offer, now)
        .await?;
    if claimed.jobs.is_empty() {
        return Ok(0);
    }
    let told = signals(&claimed.jobs);
    // No turn was taken for them: all that they take is charged at their end.
    let begun = begin(&worker, claimed.jobs, 0.0, slots);
    let dispatcher = &worker.dispatcher;
    tokio::join!(dispatcher.note(&claimed.slots), dispatcher.signal(told));
    Ok(begun)
}
