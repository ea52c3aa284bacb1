use async_trait::async_trait;
use domain::{ApiKey, ApiKeyId, TenantId, Timestamp};

use super::StoreError;

/// SHA-256 of a key's secret. The secret has 256 random bits, so a slow hash would add nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

#[async_trait]
pub trait KeyStore: Send + Sync {
    async fn create_key(&self, key: ApiKey, hash: KeyHash) -> Result<(), StoreError>;

    /// The one lookup without a tenant: it is what finds the tenant.
    async fn key(&self, id: ApiKeyId) -> Result<Option<(ApiKey, KeyHash)>, StoreError>;

    /// Newest first.
    async fn keys(&self, tenant: TenantId) -> Result<Vec<ApiKey>, StoreError>;

    /// False: no such key of this tenant, or revoked already.
    async fn revoke_key(
        &self,
        tenant: TenantId,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
}
