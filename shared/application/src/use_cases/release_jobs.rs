//! RELEASE: jobs whose prerequisites have ended begin to wait for a slot, or end with them.

use super::Dispatcher;
use crate::ports::{Ports, Signal, StoreError};

/// Jobs moved in one transaction.
const RELEASE_BATCH: u32 = 500;

/// Releases what can be released, down to the last dependent of a dependent. Returns how many jobs moved. The relay
/// sends wake-ups for those that are queued now.
pub async fn release_jobs(ports: &Ports) -> Result<usize, StoreError> {
    let dispatcher = Dispatcher::new(ports.clone());
    let mut count = 0;
    loop {
        let moved = ports
            .engine
            .release(RELEASE_BATCH, ports.clock.now())
            .await?;
        count += moved.jobs.len();
        dispatcher.note(&moved.slots).await;
        let signals = moved.jobs.iter().map(|job| Signal::JobChanged {
            tenant: job.tenant,
            job: job.id,
        });
        dispatcher.signal(signals.collect()).await;
        // Nothing moves while jobs are told of prerequisites that they wait for beside others.
        if moved.jobs.is_empty() && !moved.to_release {
            return Ok(count);
        }
    }
}
