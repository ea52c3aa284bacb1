use domain::{NewTenant, Tenant, TenantId};

use super::Dispatcher;
use crate::ports::{Ports, TenantError};

/// Checks and stores a tenant with its quotas.
pub async fn create_tenant(ports: &Ports, new: NewTenant) -> Result<Tenant, TenantError> {
    let now = ports.clock.now();
    let id = TenantId::from_uuid(ports.ids.next(now));
    let tenant = new.into_tenant(id, now)?;
    let slots = ports.tenants.create_tenant(tenant.clone()).await?;
    Dispatcher::new(ports.clone()).note(&slots).await;
    Ok(tenant)
}
