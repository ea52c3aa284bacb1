//! What tenants use in a calendar month, and what follows when it is as much as they may. Locked after budgets: the
//! month's rows, then the tenants', each in the order of the tenants' ids.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use deadpool_postgres::Transaction;
use domain::{Month, MonthUse, MonthlyLimits, OverBudget, SlotSnapshot, TenantId, Timestamp, Used};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::budgets::whole;
use crate::error::Failure;
use crate::pipeline::prepare;
use crate::rows::{self, SLOT};
use crate::slots::{self, Keys};
use crate::{PostgresStore, statement};

/// No month counts further: sums stay sums.
const MONTH_MAX: i64 = 1_000_000_000_000_000_000;
/// Tenants whose month turns in one transaction; those that are left come next time.
const TURN_BATCH: i64 = 1_000;

const SPEND: &str = "INSERT INTO tenant_months AS m (tenant_id, month, tokens, cost_usd)
    SELECT u.tenant_id, $1::text, u.tokens, u.cost
    FROM unnest($2::uuid[], $3::int8[], $4::float8[]) AS u (tenant_id, tokens, cost) ORDER BY u.tenant_id
    ON CONFLICT (tenant_id, month) DO UPDATE
        SET tokens = least(m.tokens + excluded.tokens, $5), cost_usd = m.cost_usd + excluded.cost_usd
    RETURNING m.tenant_id, m.tokens, m.cost_usd";

const LIMITS: &str =
    "SELECT id, monthly_tokens, monthly_cost_usd FROM tenants WHERE id = ANY ($1::uuid[])";

/// Looks at the limits again, which may have been raised meanwhile.
const CLOSE: &str = "UPDATE tenants t SET budget_until = $1
    FROM unnest($2::uuid[], $3::int8[], $4::float8[]) AS u (tenant_id, tokens, cost)
    WHERE t.id = u.tenant_id AND (t.budget_until IS NULL OR t.budget_until < $1)
        AND (u.tokens >= t.monthly_tokens OR u.cost >= t.monthly_cost_usd)";

const READ: &str =
    "SELECT tenant_id, tokens, cost_usd FROM tenant_months WHERE tenant_id = $1 AND month = $2";

static LOCK: LazyLock<String> = LazyLock::new(|| format!("{READ} FOR UPDATE"));

const TURNED: &str = "SELECT id FROM tenants WHERE budget_until <= $1 ORDER BY id LIMIT $2";

const OPEN: &str =
    "UPDATE tenants SET budget_until = NULL WHERE id = ANY ($1::uuid[]) AND budget_until <= $2";

/// What others know of them is old now.
static TOUCH: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE tenant_slots s SET version = s.version + 1, touched_at = $2
        FROM tenants t WHERE t.id = s.tenant_id AND s.tenant_id = ANY ($1::uuid[]) RETURNING {SLOT}"
    )
});

fn month_use(row: &Row) -> Result<MonthUse, Failure> {
    Ok(MonthUse {
        tokens: rows::amount(row, "tokens")?,
        cost_usd: rows::get(row, "cost_usd")?,
    })
}

/// Of a row of `tenants`.
pub(crate) fn limits(row: &Row) -> Result<MonthlyLimits, Failure> {
    let tokens: Option<i64> = rows::get(row, "monthly_tokens")?;
    Ok(MonthlyLimits {
        tokens: tokens
            .map(u64::try_from)
            .transpose()
            .map_err(Failure::unexpected)?,
        cost_usd: rows::get(row, "monthly_cost_usd")?,
    })
}

/// Adds to the month that `now` lies in, and returns the tenants that have used it up.
pub(crate) async fn spend(
    tx: &Transaction<'_>,
    used: &BTreeMap<TenantId, Used>,
    now: Timestamp,
) -> Result<BTreeMap<TenantId, OverBudget>, Failure> {
    let month = Month::of(now);
    let tenants: Vec<Uuid> = used.keys().map(|tenant| tenant.as_uuid()).collect();
    let tokens: Vec<i64> = used.values().map(|used| whole(used.tokens)).collect();
    let costs: Vec<f64> = used.values().map(|used| used.cost).collect();
    let add = tx.prepare_cached(SPEND).await?;
    let limits_of = tx.prepare_cached(LIMITS).await?;
    let name = month.to_string();
    let added = tx
        .query(&add, &[&name, &tenants, &tokens, &costs, &MONTH_MAX])
        .await?;
    let limited = tx.query(&limits_of, &[&tenants]).await?;
    let mut months = BTreeMap::new();
    for row in &added {
        months.insert(rows::tenant_id(row, "tenant_id")?, month_use(row)?);
    }
    let mut over = BTreeMap::new();
    for row in &limited {
        let tenant = rows::tenant_id(row, "id")?;
        let used = months.get(&tenant).copied().unwrap_or_default();
        if let Some(used_up) = limits(row)?.over(used, now) {
            over.insert(tenant, used_up);
        }
    }
    if !over.is_empty() {
        close(tx, over.keys(), &months, month.ends()).await?;
    }
    Ok(over)
}

async fn close(
    tx: &Transaction<'_>,
    over: impl Iterator<Item = &TenantId>,
    months: &BTreeMap<TenantId, MonthUse>,
    until: Timestamp,
) -> Result<(), Failure> {
    let over: Vec<(Uuid, MonthUse)> = over
        .filter_map(|tenant| Some((tenant.as_uuid(), *months.get(tenant)?)))
        .collect();
    let tenants: Vec<Uuid> = over.iter().map(|(tenant, _)| *tenant).collect();
    let tokens: Vec<i64> = over.iter().map(|(_, used)| whole(used.tokens)).collect();
    let costs: Vec<f64> = over.iter().map(|(_, used)| used.cost_usd).collect();
    let close = tx.prepare_cached(CLOSE).await?;
    tx.execute(&close, &[&until, &tenants, &tokens, &costs])
        .await?;
    Ok(())
}

/// Behind its lock, so that nobody adds to it before the end of `tx`.
pub(crate) async fn lock(
    tx: &Transaction<'_>,
    tenant: TenantId,
    month: Month,
) -> Result<MonthUse, Failure> {
    let lock = tx.prepare_cached(&LOCK).await?;
    let row = tx
        .query_opt(&lock, &[&tenant.as_uuid(), &month.to_string()])
        .await?;
    Ok(row.as_ref().map(month_use).transpose()?.unwrap_or_default())
}

/// `TenantStore::month`.
pub(crate) async fn read(
    store: &PostgresStore,
    tenant: TenantId,
    month: Month,
) -> Result<MonthUse, Failure> {
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
        [&tenant.as_uuid(), &month.to_string()];
    let found = statement::one(store, READ, &params, month_use).await?;
    Ok(found.unwrap_or_default())
}

/// `EngineStore::turn_months`.
pub(crate) async fn turn(
    store: &PostgresStore,
    now: Timestamp,
) -> Result<Vec<SlotSnapshot>, Failure> {
    // Most often there is none.
    let turned: Vec<TenantId> = statement::all(store, TURNED, &[&now, &TURN_BATCH], |row| {
        rows::tenant_id(row, "id")
    })
    .await?;
    if turned.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<Uuid> = turned.iter().map(|tenant| tenant.as_uuid()).collect();
    let keys = Keys::of_tenants(turned);
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[slots::LOCK, OPEN, &TOUCH]).await?;
    let open = tx.prepare_cached(OPEN).await?;
    let touch = tx.prepare_cached(&TOUCH).await?;
    slots::lock(&tx, &keys).await?;
    tx.execute(&open, &[&tenants, &now]).await?;
    let rows = tx.query(&touch, &[&tenants, &now]).await?;
    let slots = rows.iter().map(rows::slot).collect::<Result<_, _>>()?;
    tx.commit().await?;
    Ok(slots)
}
