//! Tenants and the quotas in their slots.

use application::ports::{StoreError, TenantError, TenantStore};
use async_trait::async_trait;
use domain::{
    JobKind, Month, MonthUse, QueueKey, Quotas, SlotSnapshot, Tenant, TenantChange, TenantId,
    Timestamp,
};
use sqlx::sqlite::SqliteRow;

use crate::error::{failed, refused};
use crate::rows::{Reader, micros};
use crate::statement::{all, one};
use crate::{SqliteStore, Write, months, slots};

#[async_trait]
impl TenantStore for SqliteStore {
    async fn create_tenant(&self, tenant: Tenant) -> Result<Vec<SlotSnapshot>, TenantError> {
        let mut tx = self.write().await?;
        insert(&mut tx, &tenant).await?;
        for kind in JobKind::ALL {
            sqlx::query("INSERT INTO tenant_slots (tenant_id, kind, quota) VALUES (?, ?, ?)")
                .bind(tenant.id.as_uuid())
                .bind(kind.as_str())
                .bind(tenant.quotas.of(kind))
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        let slots = slots::read(&mut tx, queues(tenant.id)).await?;
        tx.commit().await.map_err(failed)?;
        Ok(slots)
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        let query = sqlx::query(BY_ID).bind(id.as_uuid());
        one(&self.readers, query, tenant).await
    }

    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StoreError> {
        let query = sqlx::query(BY_SLUG).bind(slug);
        one(&self.readers, query, tenant).await
    }

    async fn tenants(&self, after: Option<&str>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        let query = sqlx::query(AFTER_SLUG)
            .bind(after.unwrap_or_default())
            .bind(limit);
        all(&self.readers, query, tenant).await
    }

    async fn month(&self, id: TenantId, month: Month) -> Result<MonthUse, StoreError> {
        months::read(&self.readers, id, month).await
    }

    async fn change_tenant(
        &self,
        id: TenantId,
        change: TenantChange,
        expected: Option<i64>,
        now: Timestamp,
    ) -> Result<Option<(Tenant, Vec<SlotSnapshot>)>, TenantError> {
        let mut tx = self.write().await?;
        let query = sqlx::query(BY_ID).bind(id.as_uuid());
        let Some(before) = one(&mut *tx, query, tenant).await? else {
            return Ok(None);
        };
        if expected.is_some_and(|expected| expected != before.version) {
            return Err(TenantError::VersionMoved(before.version));
        }
        let after = before.change(change, now)?;
        let month = Month::of(now);
        let used = months::read(&mut *tx, id, month).await?;
        let used_up = after.monthly.used_up(used).is_some();
        update(&mut tx, &after, used_up.then(|| month.ends())).await?;
        let slots = slots::read(&mut tx, queues(id)).await?;
        tx.commit().await.map_err(failed)?;
        Ok(Some((after, slots)))
    }
}

/// A limit as the store keeps it; the domain's are far below.
fn stored(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn queues(tenant: TenantId) -> [QueueKey; 2] {
    JobKind::ALL.map(|kind| QueueKey { tenant, kind })
}

async fn insert(tx: &mut Write, tenant: &Tenant) -> Result<(), TenantError> {
    sqlx::query(
        "INSERT INTO tenants (id, slug, name, active, weight, max_queued, version, created_at, updated_at,
                              monthly_tokens, monthly_cost_usd)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant.id.as_uuid())
    .bind(&tenant.slug)
    .bind(&tenant.name)
    .bind(tenant.active)
    .bind(tenant.weight)
    .bind(tenant.max_queued)
    .bind(tenant.version)
    .bind(tenant.created_at.timestamp_micros())
    .bind(tenant.updated_at.timestamp_micros())
    .bind(tenant.monthly.tokens.map(stored))
    .bind(tenant.monthly.cost_usd)
    .execute(&mut **tx)
    .await
    .map_err(|error| refused(error, || TenantError::SlugTaken(tenant.slug.clone())))?;
    Ok(())
}

/// The slots' versions rise with every change of the tenant: what others know of them (weight, quota, whether the
/// tenant is active) may be old now.
async fn update(
    tx: &mut Write,
    tenant: &Tenant,
    budget_until: Option<Timestamp>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE tenants SET name = ?, active = ?, weight = ?, max_queued = ?, version = ?, updated_at = ?,
                            monthly_tokens = ?, monthly_cost_usd = ?, budget_until = ?
         WHERE id = ?",
    )
    .bind(&tenant.name)
    .bind(tenant.active)
    .bind(tenant.weight)
    .bind(tenant.max_queued)
    .bind(tenant.version)
    .bind(tenant.updated_at.timestamp_micros())
    .bind(tenant.monthly.tokens.map(stored))
    .bind(tenant.monthly.cost_usd)
    .bind(micros(budget_until))
    .bind(tenant.id.as_uuid())
    .execute(&mut **tx)
    .await
    .map_err(failed)?;
    for kind in JobKind::ALL {
        sqlx::query(
            "UPDATE tenant_slots SET quota = ?, version = version + 1 WHERE tenant_id = ? AND kind = ?",
        )
        .bind(tenant.quotas.of(kind))
        .bind(tenant.id.as_uuid())
        .bind(kind.as_str())
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

/// A tenant's row with its quotas, one column a kind.
macro_rules! tenants_where {
    ($rest:literal) => {
        concat!(
            "SELECT t.*,
                    (SELECT quota FROM tenant_slots WHERE tenant_id = t.id AND kind = 'session') AS session_quota,
                    (SELECT quota FROM tenant_slots WHERE tenant_id = t.id AND kind = 'training') AS training_quota
             FROM tenants AS t WHERE ",
            $rest
        )
    };
}

const BY_ID: &str = tenants_where!("t.id = ?");
const BY_SLUG: &str = tenants_where!("t.slug = ?");
const AFTER_SLUG: &str = tenants_where!("t.slug > ? ORDER BY t.slug LIMIT +?");

fn tenant(row: &SqliteRow) -> Result<Tenant, StoreError> {
    let row = Reader(row);
    Ok(Tenant {
        id: row.tenant_id("id")?,
        slug: row.get("slug")?,
        name: row.get("name")?,
        active: row.get("active")?,
        weight: row.count("weight")?,
        max_queued: row.count("max_queued")?,
        quotas: Quotas {
            session: row.count("session_quota")?,
            training: row.count("training_quota")?,
        },
        monthly: months::limits(&row)?,
        version: row.get("version")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
