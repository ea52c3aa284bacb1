//! What tenants use in a calendar month, and what follows when it is as much as they may.

use std::collections::BTreeMap;

use application::ports::StoreError;
use domain::{
    JobKind, Month, MonthUse, MonthlyLimits, OverBudget, QueueKey, SlotSnapshot, TenantId,
    Timestamp, Used,
};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::batch::{Hex, ids, json};
use crate::budgets::whole;
use crate::error::{corrupt, failed};
use crate::rows::Reader;
use crate::statement::all;
use crate::{SqliteStore, slots};

/// No month counts further: sums stay sums.
const MONTH_MAX: i64 = 1_000_000_000_000_000_000;
/// Tenants whose month turns in one transaction; those that are left come next time.
const TURN_BATCH: u32 = 1_000;

/// Of a row of `tenants`.
pub fn limits(row: &Reader<'_>) -> Result<MonthlyLimits, StoreError> {
    let tokens: Option<i64> = row.get("monthly_tokens")?;
    Ok(MonthlyLimits {
        tokens: tokens.map(u64::try_from).transpose().map_err(corrupt)?,
        cost_usd: row.get("monthly_cost_usd")?,
    })
}

/// Tenant, tokens, cost.
#[derive(Debug, Serialize)]
struct SpendRow(Hex, u64, f64);

/// Adds to the month that `now` lies in, and returns the tenants that have used it up.
pub async fn spend(
    connection: &mut SqliteConnection,
    used: &BTreeMap<TenantId, Used>,
    now: Timestamp,
) -> Result<BTreeMap<TenantId, OverBudget>, StoreError> {
    let month = Month::of(now);
    let rows: Vec<SpendRow> = used
        .iter()
        .map(|(tenant, used)| SpendRow(Hex(tenant.as_uuid()), whole(used.tokens), used.cost))
        .collect();
    sqlx::query(
        "INSERT INTO tenant_months (tenant_id, month, tokens, cost_usd)
         SELECT unhex(value ->> 0), ?2, value ->> 1, value ->> 2 FROM jsonb_each(?1) WHERE true
         ON CONFLICT (tenant_id, month) DO UPDATE
         SET tokens = min(tokens + excluded.tokens, ?3), cost_usd = cost_usd + excluded.cost_usd",
    )
    .bind(json(&rows)?)
    .bind(month.to_string())
    .bind(MONTH_MAX)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let limited = sqlx::query(
        "SELECT t.id, t.monthly_tokens, t.monthly_cost_usd, m.tokens, m.cost_usd
         FROM tenants AS t JOIN tenant_months AS m ON m.tenant_id = t.id AND m.month = ?2
         WHERE t.id IN (SELECT unhex(value) FROM json_each(?1))
           AND (t.monthly_tokens IS NOT NULL OR t.monthly_cost_usd IS NOT NULL)",
    )
    .bind(ids(used.keys().map(|tenant| tenant.as_uuid()))?)
    .bind(month.to_string())
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let mut over = BTreeMap::new();
    for row in &limited {
        let used = month_use(row)?;
        let row = Reader(row);
        if let Some(used_up) = limits(&row)?.over(used, now) {
            over.insert(row.tenant_id("id")?, used_up);
        }
    }
    if !over.is_empty() {
        sqlx::query(
            "UPDATE tenants SET budget_until = ?2
             WHERE id IN (SELECT unhex(value) FROM json_each(?1)) AND (budget_until IS NULL OR budget_until < ?2)",
        )
        .bind(ids(over.keys().map(|tenant| tenant.as_uuid()))?)
        .bind(month.ends().timestamp_micros())
        .execute(connection)
        .await
        .map_err(failed)?;
    }
    Ok(over)
}

fn month_use(row: &SqliteRow) -> Result<MonthUse, StoreError> {
    let row = Reader(row);
    Ok(MonthUse {
        tokens: row.amount("tokens")?,
        cost_usd: row.get("cost_usd")?,
    })
}

/// `TenantStore::month`.
pub async fn read(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    month: Month,
) -> Result<MonthUse, StoreError> {
    let row =
        sqlx::query("SELECT tokens, cost_usd FROM tenant_months WHERE tenant_id = ? AND month = ?")
            .bind(tenant.as_uuid())
            .bind(month.to_string())
            .fetch_optional(executor)
            .await
            .map_err(failed)?;
    Ok(row.as_ref().map(month_use).transpose()?.unwrap_or_default())
}

/// `EngineStore::turn_months`.
pub async fn turn(store: &SqliteStore, now: Timestamp) -> Result<Vec<SlotSnapshot>, StoreError> {
    // Most often there is none, and nobody who writes has to wait for this look.
    let query = sqlx::query("SELECT id FROM tenants WHERE budget_until <= ? ORDER BY id LIMIT +?")
        .bind(now.timestamp_micros())
        .bind(TURN_BATCH);
    let turned = all(&store.readers, query, |row| Reader(row).tenant_id("id")).await?;
    if turned.is_empty() {
        return Ok(Vec::new());
    }
    let tenants = ids(turned.iter().map(|tenant| tenant.as_uuid()))?;
    let mut tx = store.write().await?;
    sqlx::query(
        "UPDATE tenants SET budget_until = NULL
         WHERE id IN (SELECT unhex(value) FROM json_each(?)) AND budget_until <= ?",
    )
    .bind(&tenants)
    .bind(now.timestamp_micros())
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    // What others know of them is old now.
    sqlx::query(
        "UPDATE tenant_slots SET version = version + 1
         WHERE tenant_id IN (SELECT unhex(value) FROM json_each(?))",
    )
    .bind(&tenants)
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    let queues = turned
        .into_iter()
        .flat_map(|tenant| JobKind::ALL.map(|kind| QueueKey { tenant, kind }));
    let slots = slots::read(&mut tx, queues).await?;
    tx.commit().await.map_err(failed)?;
    Ok(slots)
}
