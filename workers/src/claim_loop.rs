//! While there are free slots: pick a queue, visit it, claim what it has, run it.
//!
//! The only place that takes slots, so what is free here can only grow meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::life::Worker;
use crate::pick::{Picked, pick};
use crate::visit::visit;

/// Visits under way at once: enough to fill one claim transaction from many shallow queues.
const VISITS_AT_ONCE: usize = 32;
/// The slow poll behind the wake-ups.
const POLL: Duration = Duration::from_secs(1);

pub(crate) async fn claim_loop(worker: Arc<Worker>) {
    let visits = Arc::new(Semaphore::new(VISITS_AT_ONCE));
    let mut wakeups = worker.ports.ready.wakeups();
    let stop = worker.draining.clone();
    loop {
        let round = async {
            // Waits for a slot and for a place among the visits; the slot itself is taken once it is known how many.
            drop(worker.slots.acquire().await);
            let Ok(place) = Arc::clone(&visits).acquire_owned().await else {
                return;
            };
            wakeups.mark_unchanged();
            let free = u32::try_from(worker.slots.available_permits()).unwrap_or(u32::MAX);
            match pick(&worker, free).await {
                Picked::Queue { queue, n } => {
                    let Ok(slots) = Arc::clone(&worker.slots).try_acquire_many_owned(n) else {
                        return;
                    };
                    let visiting = visit(Arc::clone(&worker), queue, slots);
                    worker.runs.spawn(async move {
                        visiting.await;
                        drop(place);
                    });
                }
                Picked::Nothing => {
                    drop(place);
                    let _ = tokio::time::timeout(POLL, wakeups.changed()).await;
                }
                Picked::Later(pause) => {
                    drop(place);
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
