//! Pause, resume or drain a tenant's queues.

use domain::{JobKind, TenantId};

use super::Dispatcher;
use crate::ports::{Ports, QueueAction, StoreError};

/// Of one kind, or of all. False: no such tenant. Running jobs go on, whatever is asked.
pub async fn steer_queues(
    ports: &Ports,
    tenant: TenantId,
    kind: Option<JobKind>,
    action: QueueAction,
) -> Result<bool, StoreError> {
    let Some(slots) = ports.jobs.steer_queues(tenant, kind, action).await? else {
        return Ok(false);
    };
    Dispatcher::new(ports.clone()).note(&slots).await;
    Ok(true)
}
