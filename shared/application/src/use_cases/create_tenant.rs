use domain::{JobKind, NewTenant, QueueKey, Tenant, TenantId};

use super::Dispatcher;
use crate::ports::{Ports, TenantError};

/// Checks and stores a tenant with its quotas, and makes the queue of its sessions: a broker takes longer for that than for
/// a wake-up. That of its training jobs, which few tenants have, is made when it is needed.
pub async fn create_tenant(ports: &Ports, new: NewTenant) -> Result<Tenant, TenantError> {
    let now = ports.clock.now();
    let id = TenantId::from_uuid(ports.ids.next(now));
    let tenant = new.into_tenant(id, now)?;
    let slots = ports.tenants.create_tenant(tenant.clone()).await?;
    Dispatcher::new(ports.clone()).note(&slots).await;
    let queue = QueueKey {
        tenant: id,
        kind: JobKind::Session,
    };
    if let Err(error) = ports.queue.make(queue).await {
        tracing::warn!(%error, tenant = %id, "a new tenant's queue was not made; its first wake-up will");
    }
    Ok(tenant)
}
