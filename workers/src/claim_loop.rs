//! While there are free slots: pick a queue, visit it, claim what it has, run it.
//!
//! Slots are taken before a queue is picked, so whatever is picked can be claimed.

use std::sync::Arc;
use std::time::Duration;

use application::ports::PICK_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::life::Worker;
use crate::pick::{Picked, pick};
use crate::visit::visit;

/// Visits under way at once: enough to fill one claim transaction from many shallow queues.
const VISITS_AT_ONCE: usize = 128;
/// The slow poll behind the wake-ups.
const POLL: Duration = Duration::from_secs(1);

pub(crate) async fn claim_loop(worker: Arc<Worker>) {
    let visits = Arc::new(Semaphore::new(VISITS_AT_ONCE));
    let mut wakeups = worker.ports.ready.wakeups();
    let stop = worker.draining.clone();
    loop {
        let round = async {
            let Ok(place) = Arc::clone(&visits).acquire_owned().await else {
                return;
            };
            let Some(slots) = free_slots(&worker, PICK_MAX).await else {
                return;
            };
            wakeups.mark_unchanged();
            let want = u32::try_from(slots.num_permits()).unwrap_or(u32::MAX);
            match pick(&worker, want).await {
                Picked::Turn(turn) => {
                    let visiting = visit(Arc::clone(&worker), turn, slots);
                    worker.runs.spawn(async move {
                        visiting.await;
                        drop(place);
                    });
                }
                Picked::Nothing => {
                    drop((place, slots));
                    let _ = tokio::time::timeout(POLL, wakeups.changed()).await;
                }
                Picked::Later(pause) => {
                    drop((place, slots));
                    tokio::time::sleep(pause).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = worker.over.cancelled() => return,
            () = round => {}
        }
    }
}

/// Waits for a free slot and takes it, with as many more as are free, at most `most`.
pub(crate) async fn free_slots(worker: &Worker, most: u32) -> Option<OwnedSemaphorePermit> {
    let mut slots = Arc::clone(&worker.slots).acquire_owned().await.ok()?;
    let free = u32::try_from(worker.slots.available_permits()).unwrap_or(u32::MAX);
    let more = free.min(most.saturating_sub(1));
    if let Ok(more) = Arc::clone(&worker.slots).try_acquire_many_owned(more) {
        slots.merge(more);
    }
    Some(slots)
}
