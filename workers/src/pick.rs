//! PICK: which tenant's queue is next. Asks the ready set; when that is gone or out of reach, asks the store, which is
//! slower but right.

use std::time::Duration;

use application::ports::{CoordinationError, Pick};
use domain::{QueueKey, SlotSnapshot};

use crate::life::Worker;
use crate::singleton;

/// Queues read from the store at once when it has to be asked.
const ASKED_QUEUES: u32 = 10_000;
/// Pause between questions to the store when it stands in for the ready set.
const ASK_PAUSE: Duration = Duration::from_millis(100);
/// Jobs taken from one queue when nobody keeps the turns.
const ASKED_JOBS: u32 = 16;
const REBUILD: &str = "rebuild";
/// A process that died while it rebuilt keeps others from it for so long; they ask the store meanwhile.
const REBUILD_TTL: Duration = Duration::from_secs(5);

/// So many jobs of a queue that may be visited now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub queue: QueueKey,
    pub n: u32,
    /// Worker-seconds that the queue was charged for each of them; what a run really took is known at its end.
    pub estimate: f64,
}

pub(crate) enum Picked {
    Turn(Turn),
    Nothing,
    /// Nothing can be said now; ask again after this.
    Later(Duration),
}

pub(crate) async fn pick(worker: &Worker, want: u32) -> Picked {
    match worker.ports.ready.pick(&worker.config.kinds, want).await {
        Ok(Pick::Queue { queue, n, estimate }) => Picked::Turn(Turn { queue, n, estimate }),
        Ok(Pick::Nothing) => Picked::Nothing,
        Ok(Pick::Blank) => {
            rebuild(worker).await;
            ask_store(worker, want).await
        }
        Err(error) => {
            tracing::warn!(%error, "turns are not kept; asking the store");
            worker
                .metrics
                .engine_errors_total
                .with_label_values(&["pick"])
                .inc();
            ask_store(worker, want).await
        }
    }
}

/// Fills an empty ready set from the store; one process at a time does it.
async fn rebuild(worker: &Worker) {
    if !singleton::is_mine(worker, REBUILD, REBUILD_TTL).await {
        return;
    }
    let filled = fill(worker).await;
    singleton::give_up(worker, REBUILD).await;
    match filled {
        Ok(queues) => {
            worker
                .metrics
                .reconciler_repairs_total
                .with_label_values(&["ready_set"])
                .inc();
            tracing::info!(queues, "the ready set was empty and is rebuilt");
        }
        Err(error) => tracing::warn!(%error, "the ready set could not be rebuilt"),
    }
}

async fn fill(worker: &Worker) -> Result<usize, CoordinationError> {
    let slots = worker
        .ports
        .engine
        .slots(ASKED_QUEUES)
        .await
        .map_err(|error| CoordinationError(error.to_string()))?;
    worker.ports.ready.rebuild(&slots).await?;
    Ok(slots.len())
}

/// Any queue that has something to claim, at random, so that workers do not all crowd into one.
async fn ask_store(worker: &Worker, want: u32) -> Picked {
    let slots = match worker.ports.engine.slots(ASKED_QUEUES).await {
        Ok(slots) => slots,
        Err(error) => {
            tracing::warn!(%error, "the store cannot be asked either");
            return Picked::Later(ASK_PAUSE * 10);
        }
    };
    let ready: Vec<SlotSnapshot> = slots
        .into_iter()
        .filter(|slots| slots.claimable() > 0 && worker.config.kinds.contains(&slots.queue.kind))
        .collect();
    if ready.is_empty() {
        return Picked::Later(ASK_PAUSE);
    }
    let slots = ready[fastrand::usize(..ready.len())];
    Picked::Turn(Turn {
        queue: slots.queue,
        n: slots.claimable().min(want).min(ASKED_JOBS),
        // Nobody keeps the turns now, so nothing is charged before the end.
        estimate: 0.0,
    })
}
