//! API keys, by their hashes only.

use application::ports::{KeyHash, KeyStore, StoreError};
use async_trait::async_trait;
use domain::{ApiKey, ApiKeyId, TenantId, Timestamp};
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::{corrupt, failed};
use crate::rows::Reader;

#[async_trait]
impl KeyStore for SqliteStore {
    async fn create_key(&self, key: ApiKey, hash: KeyHash) -> Result<(), StoreError> {
        let micros = |time: Option<Timestamp>| time.map(|time| time.timestamp_micros());
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO api_keys (id, tenant_id, role, name, secret_hash, created_at, expires_at, revoked_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(key.id.as_uuid())
        .bind(key.tenant.as_uuid())
        .bind(key.role.as_str())
        .bind(&key.name)
        .bind(&hash.0[..])
        .bind(key.created_at.timestamp_micros())
        .bind(micros(key.expires_at))
        .bind(micros(key.revoked_at))
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn key(&self, id: ApiKeyId) -> Result<Option<(ApiKey, KeyHash)>, StoreError> {
        sqlx::query("SELECT * FROM api_keys WHERE id = ?")
            .bind(id.as_uuid())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed)?
            .map(|row| {
                let hash: &[u8] = Reader(&row).get("secret_hash")?;
                let hash = hash
                    .try_into()
                    .map_err(|_| corrupt("the hash of a key does not have 32 bytes"))?;
                Ok((key(&row)?, KeyHash(hash)))
            })
            .transpose()
    }

    async fn keys(&self, tenant: TenantId) -> Result<Vec<ApiKey>, StoreError> {
        sqlx::query("SELECT * FROM api_keys WHERE tenant_id = ? ORDER BY id DESC")
            .bind(tenant.as_uuid())
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?
            .iter()
            .map(key)
            .collect()
    }

    async fn revoke_key(
        &self,
        tenant: TenantId,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let revoked = sqlx::query(
            "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND tenant_id = ? AND revoked_at IS NULL",
        )
        .bind(now.timestamp_micros())
        .bind(id.as_uuid())
        .bind(tenant.as_uuid())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(revoked.rows_affected() > 0)
    }
}

fn key(row: &SqliteRow) -> Result<ApiKey, StoreError> {
    let row = Reader(row);
    Ok(ApiKey {
        id: row.key_id("id")?,
        tenant: row.tenant_id("tenant_id")?,
        role: row.name("role")?,
        name: row.get("name")?,
        created_at: row.time("created_at")?,
        expires_at: row.maybe_time("expires_at")?,
        revoked_at: row.maybe_time("revoked_at")?,
    })
}
