//! API keys. Only the hash of a secret is kept.

use application::ports::{KeyHash, KeyStore, StoreError};
use async_trait::async_trait;
use domain::{ApiKey, ApiKeyId, TenantId, Timestamp};
use tokio_postgres::Row;

use crate::PostgresStore;
use crate::error::{During, Failure};
use crate::json::text;
use crate::rows;

const INSERT: &str = "INSERT INTO api_keys (id, tenant_id, role, name, secret_hash, created_at, expires_at, revoked_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const BY_ID: &str =
    "SELECT id, tenant_id, role, name, secret_hash, created_at, expires_at, revoked_at
    FROM api_keys WHERE id = $1";

const OF_TENANT: &str = "SELECT id, tenant_id, role, name, created_at, expires_at, revoked_at
    FROM api_keys WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC";

const REVOKE: &str =
    "UPDATE api_keys SET revoked_at = $3 WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL";

#[async_trait]
impl KeyStore for PostgresStore {
    async fn create_key(&self, key: ApiKey, hash: KeyHash) -> Result<(), StoreError> {
        create(self, key, hash).await.during("creating an API key")
    }

    async fn key(&self, id: ApiKeyId) -> Result<Option<(ApiKey, KeyHash)>, StoreError> {
        by_id(self, id).await.during("reading an API key")
    }

    async fn keys(&self, tenant: TenantId) -> Result<Vec<ApiKey>, StoreError> {
        of_tenant(self, tenant).await.during("listing API keys")
    }

    async fn revoke_key(
        &self,
        tenant: TenantId,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        revoke(self, tenant, id, now)
            .await
            .during("revoking an API key")
    }
}

async fn create(store: &PostgresStore, key: ApiKey, hash: KeyHash) -> Result<(), Failure> {
    let client = store.client().await?;
    let insert = client.prepare_cached(INSERT).await?;
    client
        .execute(
            &insert,
            &[
                &key.id.as_uuid(),
                &key.tenant.as_uuid(),
                &key.role.as_str(),
                &text(&key.name),
                &hash.0.as_slice(),
                &key.created_at,
                &key.expires_at,
                &key.revoked_at,
            ],
        )
        .await?;
    Ok(())
}

async fn by_id(store: &PostgresStore, id: ApiKeyId) -> Result<Option<(ApiKey, KeyHash)>, Failure> {
    let client = store.client().await?;
    let by_id = client.prepare_cached(BY_ID).await?;
    let row = client.query_opt(&by_id, &[&id.as_uuid()]).await?;
    row.map(|row| Ok((rows::api_key(&row)?, hash(&row)?)))
        .transpose()
}

fn hash(row: &Row) -> Result<KeyHash, Failure> {
    let bytes: &[u8] = rows::get(row, "secret_hash")?;
    let hash = bytes.try_into().map_err(Failure::unexpected)?;
    Ok(KeyHash(hash))
}

async fn of_tenant(store: &PostgresStore, tenant: TenantId) -> Result<Vec<ApiKey>, Failure> {
    let client = store.client().await?;
    let keys = client.prepare_cached(OF_TENANT).await?;
    let rows = client.query(&keys, &[&tenant.as_uuid()]).await?;
    rows.iter().map(rows::api_key).collect()
}

async fn revoke(
    store: &PostgresStore,
    tenant: TenantId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<bool, Failure> {
    let client = store.client().await?;
    let revoke = client.prepare_cached(REVOKE).await?;
    let revoked = client
        .execute(&revoke, &[&tenant.as_uuid(), &id.as_uuid(), &now])
        .await?;
    Ok(revoked > 0)
}
