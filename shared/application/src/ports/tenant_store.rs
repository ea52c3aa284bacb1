use async_trait::async_trait;
use domain::{
    Month, MonthUse, SlotSnapshot, Tenant, TenantChange, TenantId, Timestamp, Violations,
};

use super::StoreError;

#[async_trait]
pub trait TenantStore: Send + Sync {
    /// Writes the tenant and its slots, one row a kind.
    async fn create_tenant(&self, tenant: Tenant) -> Result<Vec<SlotSnapshot>, TenantError>;

    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError>;

    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StoreError>;

    /// By slug, those after `after`, at most `limit`.
    async fn tenants(&self, after: Option<&str>, limit: u32) -> Result<Vec<Tenant>, StoreError>;

    /// What the tenant's sessions have used in a month; nothing of a tenant that does not exist.
    async fn month(&self, id: TenantId, month: Month) -> Result<MonthUse, StoreError>;

    /// [`Tenant::change`] on the locked row; quotas and weight reach the slots in the same transaction, and so does what
    /// new monthly limits mean for the month that `now` lies in. With `expected`, only if the tenant is still at that
    /// version. `Ok(None)`: no such tenant.
    async fn change_tenant(
        &self,
        id: TenantId,
        change: TenantChange,
        expected: Option<i64>,
        now: Timestamp,
    ) -> Result<Option<(Tenant, Vec<SlotSnapshot>)>, TenantError>;
}

#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    #[error("a tenant with the slug `{0}` exists already")]
    SlugTaken(String),
    /// Somebody else changed it meanwhile.
    #[error("the tenant is at version {0} now")]
    VersionMoved(i64),
    #[error(transparent)]
    Invalid(#[from] Violations),
    #[error(transparent)]
    Store(#[from] StoreError),
}
