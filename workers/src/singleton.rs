//! Work that one process at a time should do. The lock saves effort only: all such work is safe to do twice, and is
//! done when the locks cannot be reached.

use std::time::Duration;

use application::ports::LockState;

use crate::life::Worker;

/// True when this worker is the one to do `chore` now. A holder that died keeps others from it for `ttl`, so that is a
/// little longer than the pause between two rounds.
pub(crate) async fn is_mine(worker: &Worker, chore: &str, ttl: Duration) -> bool {
    let owner = worker.me.id.to_string();
    match worker
        .ports
        .locks
        .acquire(&format!("chore:{chore}"), &owner, ttl)
        .await
    {
        Ok(state) => state == LockState::Held,
        Err(error) => {
            tracing::debug!(%error, chore, "locks cannot be reached; doing it anyway");
            true
        }
    }
}

/// Lets another worker do it.
pub(crate) async fn give_up(worker: &Worker, chore: &str) {
    let owner = worker.me.id.to_string();
    // If this fails, the lock's time runs out.
    let _ = worker
        .ports
        .locks
        .release(&format!("chore:{chore}"), &owner)
        .await;
}
