use domain::{Tenant, TenantChange, TenantId};

use super::Dispatcher;
use crate::ports::{Ports, TenantError};

/// Changes a tenant; raised quotas take effect at once. `Ok(None)`: no such tenant.
pub async fn change_tenant(
    ports: &Ports,
    id: TenantId,
    change: TenantChange,
    expected: Option<i64>,
) -> Result<Option<Tenant>, TenantError> {
    let now = ports.clock.now();
    let changed = ports
        .tenants
        .change_tenant(id, change, expected, now)
        .await?;
    let Some((tenant, slots)) = changed else {
        return Ok(None);
    };
    Dispatcher::new(ports.clone()).note(&slots).await;
    Ok(Some(tenant))
}
