//! DRAIN: a worker that leaves takes no more jobs, lets its runs finish for a while, and hands back the rest.

use std::time::Duration;

use application::ports::Interruption;

use crate::life::Worker;

/// After being told to wind up, a run that is still there is ended; longer than a run may take to wind up.
const LAST_CALL: Duration = Duration::from_secs(25);

/// Waits for the wish to leave, then for the runs. When it returns, nothing runs any more, or its time is over.
pub(crate) async fn drain(worker: &Worker) {
    worker.draining.cancelled().await;
    tracing::info!(worker = %worker.me.id, "draining: no more jobs are taken");
    if let Err(error) = worker.ports.engine.drain_worker(worker.me).await {
        tracing::warn!(%error, "others were not told that this worker leaves");
    }
    worker.runs.close();
    if tokio::time::timeout(worker.config.drain, worker.runs.wait())
        .await
        .is_ok()
    {
        return;
    }
    tracing::info!(worker = %worker.me.id, "handing back the jobs that still run");
    worker.running.interrupt_all(Interruption::Drain);
    let _ = tokio::time::timeout(LAST_CALL, worker.runs.wait()).await;
}
