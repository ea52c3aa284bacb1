//! A person's word that the next run of a job starts from an earlier checkpoint.

use domain::{JobId, TenantId};

use super::Dispatcher;
use crate::ports::{Ports, Restored, Signal, StoreError};

/// Those who watch the job are told.
pub async fn restore_checkpoint(
    ports: &Ports,
    tenant: TenantId,
    job: JobId,
    number: u32,
) -> Result<Restored, StoreError> {
    let now = ports.clock.now();
    let restored = ports
        .jobs
        .restore_checkpoint(tenant, job, number, now)
        .await?;
    if matches!(restored, Restored::Done(_)) {
        let changed = Signal::JobChanged { tenant, job };
        Dispatcher::new(ports.clone()).signal(vec![changed]).await;
    }
    Ok(restored)
}
