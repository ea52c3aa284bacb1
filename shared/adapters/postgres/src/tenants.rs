//! Tenants and the quotas in their slots.

use std::sync::LazyLock;

use application::ports::{StoreError, TenantError, TenantStore};
use async_trait::async_trait;
use deadpool_postgres::Transaction;
use domain::{JobKind, Month, MonthUse, SlotSnapshot, Tenant, TenantChange, TenantId, Timestamp};

use crate::budgets::whole;
use crate::error::{During, Failure};
use crate::json::text;
use crate::pipeline::prepare;
use crate::rows::{self, SLOT, int};
use crate::slots::{self, Keys};
use crate::{PostgresStore, months, statement};

const TENANTS: &str = "SELECT t.id, t.slug, t.name, t.active, t.weight, t.max_queued, t.monthly_tokens, t.monthly_cost_usd,
        t.version, t.created_at, t.updated_at, s.quota AS session_quota, r.quota AS training_quota
    FROM tenants t
    JOIN tenant_slots s ON s.tenant_id = t.id AND s.kind = 'session'
    JOIN tenant_slots r ON r.tenant_id = t.id AND r.kind = 'training'";

static BY_ID: LazyLock<String> = LazyLock::new(|| format!("{TENANTS} WHERE t.id = $1"));
static BY_SLUG: LazyLock<String> = LazyLock::new(|| format!("{TENANTS} WHERE t.slug = $1"));
// In the order of bytes, whatever the database's collation, as the other store has it.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{TENANTS} WHERE $1::text IS NULL OR t.slug COLLATE \"C\" > $1
        ORDER BY t.slug COLLATE \"C\" LIMIT $2"
    )
});
/// Not FOR UPDATE: that would wait for every transaction that writes a job of the tenant.
static LOCK: LazyLock<String> =
    LazyLock::new(|| format!("{TENANTS} WHERE t.id = $1 FOR NO KEY UPDATE OF t"));

const INSERT: &str = "INSERT INTO tenants
        (id, slug, name, active, weight, max_queued, version, created_at, updated_at, monthly_tokens, monthly_cost_usd)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (slug) DO NOTHING";

const INSERT_SLOTS: &str = "INSERT INTO tenant_slots (tenant_id, kind, quota, touched_at)
    SELECT $1, k.kind, k.quota, $4 FROM unnest($2::text[], $3::int4[]) AS k (kind, quota)";

const UPDATE: &str = "UPDATE tenants SET name = $2, active = $3, weight = $4, max_queued = $5, version = $6, updated_at = $7,
        monthly_tokens = $8, monthly_cost_usd = $9, budget_until = $10
    WHERE id = $1";

/// The version rises even where the quota stays: weight and activity are part of a snapshot.
const UPDATE_SLOTS: &str =
    "UPDATE tenant_slots s SET quota = k.quota, version = s.version + 1, touched_at = $4
    FROM unnest($2::text[], $3::int4[]) AS k (kind, quota)
    WHERE s.tenant_id = $1 AND s.kind = k.kind";

static SLOTS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {SLOT} FROM tenant_slots s JOIN tenants t ON t.id = s.tenant_id
        WHERE s.tenant_id = $1 ORDER BY s.kind"
    )
});

#[async_trait]
impl TenantStore for PostgresStore {
    async fn create_tenant(&self, tenant: Tenant) -> Result<Vec<SlotSnapshot>, TenantError> {
        create(self, &tenant)
            .await
            .during("creating a tenant")?
            .ok_or(TenantError::SlugTaken(tenant.slug))
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        statement::one(self, &BY_ID, &[&id.as_uuid()], rows::tenant)
            .await
            .during("reading a tenant")
    }

    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StoreError> {
        statement::one(self, &BY_SLUG, &[&text(slug)], rows::tenant)
            .await
            .during("reading a tenant")
    }

    async fn tenants(&self, after: Option<&str>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        let (after, limit) = (after.map(text), i64::from(limit));
        statement::all(self, &PAGE, &[&after, &limit], rows::tenant)
            .await
            .during("listing tenants")
    }

    async fn month(&self, id: TenantId, month: Month) -> Result<MonthUse, StoreError> {
        months::read(self, id, month)
            .await
            .during("reading a tenant's month")
    }

    async fn change_tenant(
        &self,
        id: TenantId,
        wanted: TenantChange,
        expected: Option<i64>,
        now: Timestamp,
    ) -> Result<Option<(Tenant, Vec<SlotSnapshot>)>, TenantError> {
        change(self, id, wanted, expected, now)
            .await
            .during("changing a tenant")?
    }
}

/// `None`: the slug is taken.
async fn create(
    store: &PostgresStore,
    tenant: &Tenant,
) -> Result<Option<Vec<SlotSnapshot>>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let insert = tx.prepare_cached(INSERT).await?;
    let inserted = tx
        .execute(
            &insert,
            &[
                &tenant.id.as_uuid(),
                &tenant.slug,
                &text(&tenant.name),
                &tenant.active,
                &int(tenant.weight),
                &int(tenant.max_queued),
                &tenant.version,
                &tenant.created_at,
                &tenant.updated_at,
                &tenant.monthly.tokens.map(whole),
                &tenant.monthly.cost_usd,
            ],
        )
        .await?;
    if inserted == 0 {
        return Ok(None);
    }
    write_quotas(&tx, INSERT_SLOTS, tenant).await?;
    let slots = slots_of(&tx, tenant.id).await?;
    tx.commit().await?;
    Ok(Some(slots))
}

async fn write_quotas(tx: &Transaction<'_>, sql: &str, tenant: &Tenant) -> Result<(), Failure> {
    let kinds = JobKind::ALL.map(JobKind::as_str);
    let quotas = JobKind::ALL.map(|kind| int(tenant.quotas.of(kind)));
    let write = tx.prepare_cached(sql).await?;
    tx.execute(
        &write,
        &[
            &tenant.id.as_uuid(),
            &kinds.as_slice(),
            &quotas.as_slice(),
            &tenant.updated_at,
        ],
    )
    .await?;
    Ok(())
}

async fn slots_of(tx: &Transaction<'_>, tenant: TenantId) -> Result<Vec<SlotSnapshot>, Failure> {
    let slots = tx.prepare_cached(&SLOTS).await?;
    let rows = tx.query(&slots, &[&tenant.as_uuid()]).await?;
    rows.iter().map(rows::slot).collect()
}

type Changed = Option<(Tenant, Vec<SlotSnapshot>)>;

/// Slots first, then the month, then the tenant: who writes jobs and what they used locks them in this order too.
async fn change(
    store: &PostgresStore,
    id: TenantId,
    wanted: TenantChange,
    expected: Option<i64>,
    now: Timestamp,
) -> Result<Result<Changed, TenantError>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[slots::LOCK, &LOCK]).await?;
    let lock = tx.prepare_cached(&LOCK).await?;
    let keys = Keys::of_tenants([id]);
    slots::lock(&tx, &keys).await?;
    let used = months::lock(&tx, id, Month::of(now)).await?;
    let row = tx.query_opt(&lock, &[&id.as_uuid()]).await?;
    let Some(row) = row else {
        return Ok(Ok(None));
    };
    let tenant = rows::tenant(&row)?;
    if expected.is_some_and(|version| version != tenant.version) {
        return Ok(Err(TenantError::VersionMoved(tenant.version)));
    }
    let tenant = match tenant.change(wanted, now) {
        Ok(tenant) => tenant,
        Err(violations) => return Ok(Err(violations.into())),
    };
    let used_up = tenant.monthly.used_up(used).is_some();
    update(&tx, &tenant, used_up.then(|| Month::of(now).ends())).await?;
    write_quotas(&tx, UPDATE_SLOTS, &tenant).await?;
    let slots = slots_of(&tx, id).await?;
    tx.commit().await?;
    Ok(Ok(Some((tenant, slots))))
}

async fn update(
    tx: &Transaction<'_>,
    tenant: &Tenant,
    budget_until: Option<Timestamp>,
) -> Result<(), Failure> {
    let update = tx.prepare_cached(UPDATE).await?;
    tx.execute(
        &update,
        &[
            &tenant.id.as_uuid(),
            &text(&tenant.name),
            &tenant.active,
            &int(tenant.weight),
            &int(tenant.max_queued),
            &tenant.version,
            &tenant.updated_at,
            &tenant.monthly.tokens.map(whole),
            &tenant.monthly.cost_usd,
            &budget_until,
        ],
    )
    .await?;
    Ok(())
}
