//! The accounts of sessions that name budgets: opened with the session, charged with what it and its descendants report,
//! granted again when one of them is resumed or tried again.

use std::collections::BTreeMap;

use application::ports::{Refused, Standing, StoreError};
use domain::{Account, Job, JobId, JobSpec, Spent, TenantId, Used, over_budget};
use serde::Serialize;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::batch::{Hex, ids, json};
use crate::error::failed;
use crate::rows::Reader;
use crate::{SqliteStore, Write};

/// No account counts further: sums stay sums.
const ACCOUNT_MAX: i64 = 1_000_000_000_000_000_000;

pub type Accounts = BTreeMap<JobId, Account>;

fn account(row: &SqliteRow) -> Result<(JobId, Account), StoreError> {
    let row = Reader(row);
    let account = Account {
        limits: row.json("limits")?,
        times: row.count("times")?,
        used: Used {
            tokens: row.amount("tokens")?,
            cost: row.get("cost")?,
            steps: row.amount("steps")?,
        },
    };
    Ok((row.job_id("job_id")?, account))
}

/// Of new sessions.
pub async fn open(connection: &mut SqliteConnection, jobs: &[&Job]) -> Result<(), StoreError> {
    let mut rows: Vec<(Hex, Hex, String)> = Vec::new();
    for job in jobs {
        let JobSpec::Session(session) = &job.spec else {
            continue;
        };
        if let Some(budget) = &session.demands.budget {
            let (id, tenant) = (Hex(job.id.as_uuid()), Hex(job.tenant.as_uuid()));
            rows.push((id, tenant, json(budget)?));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO budgets (job_id, tenant_id, limits, times, tokens, cost, steps)
         SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, 1, 0, 0.0, 0 FROM jsonb_each(?)",
    )
    .bind(json(&rows)?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Those that there are.
pub async fn read(
    connection: &mut SqliteConnection,
    owners: impl IntoIterator<Item = JobId>,
) -> Result<Accounts, StoreError> {
    sqlx::query(
        "SELECT job_id, limits, times, tokens, cost, steps FROM budgets
         WHERE job_id IN (SELECT unhex(value) FROM json_each(?))",
    )
    .bind(ids(owners.into_iter().map(JobId::as_uuid))?)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(account)
    .collect()
}

/// Owner, tokens, cost, steps.
#[derive(Debug, Serialize)]
struct ChargeRow(Hex, u64, f64, u64);

/// Returns the accounts as they are then.
pub async fn charge(
    connection: &mut SqliteConnection,
    charges: &BTreeMap<JobId, Used>,
) -> Result<Accounts, StoreError> {
    let rows: Vec<ChargeRow> = charges
        .iter()
        .map(|(owner, used)| {
            let (tokens, steps) = (whole(used.tokens), whole(used.steps));
            ChargeRow(Hex(owner.as_uuid()), tokens, used.cost, steps)
        })
        .collect();
    sqlx::query(
        "UPDATE budgets SET tokens = min(tokens + c.t, ?2), cost = cost + c.c, steps = min(steps + c.s, ?2)
         FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS t, value ->> 2 AS c, value ->> 3 AS s
               FROM jsonb_each(?1)) AS c
         WHERE budgets.job_id = c.id
         RETURNING job_id, limits, times, tokens, cost, steps",
    )
    .bind(json(&rows)?)
    .bind(ACCOUNT_MAX)
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(account)
    .collect()
}

/// What an action that grants needs: whatever is used up that the job draws on is granted once more.
pub async fn grant(tx: &mut Write, job: JobId) -> Result<Result<(), Refused>, StoreError> {
    let row = sqlx::query("SELECT ancestors FROM jobs WHERE id = ?")
        .bind(job.as_uuid())
        .fetch_one(&mut **tx)
        .await
        .map_err(failed)?;
    let ancestors: Vec<JobId> = Reader(&row).json("ancestors")?;
    let mut grants: Vec<(Hex, u32)> = Vec::new();
    for (of, account) in read(tx, ancestors.into_iter().chain([job])).await? {
        let Some(what) = account.used_up() else {
            continue;
        };
        if account.stops() {
            return Ok(Err(Refused::BudgetUsedUp { of, what }));
        }
        grants.push((Hex(of.as_uuid()), account.granted().times));
    }
    if !grants.is_empty() {
        sqlx::query(
            "UPDATE budgets SET times = g.times
             FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS times FROM jsonb_each(?)) AS g
             WHERE budgets.job_id = g.id",
        )
        .bind(json(&grants)?)
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
    }
    Ok(Ok(()))
}

/// `EngineStore::standing`.
pub async fn standing(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
) -> Result<Option<Standing>, StoreError> {
    let mut tx = store.readers.begin().await.map_err(failed)?;
    let row = sqlx::query("SELECT spent, ancestors FROM jobs WHERE id = ? AND tenant_id = ?")
        .bind(job.as_uuid())
        .bind(tenant.as_uuid())
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
    let Some(row) = row else {
        return Ok(None);
    };
    let spent: Option<Spent> = Reader(&row).maybe_json("spent")?;
    let ancestors: Vec<JobId> = Reader(&row).json("ancestors")?;
    let accounts = read(&mut tx, ancestors.iter().copied().chain([job])).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Some(Standing {
        spent: spent.unwrap_or_default(),
        over: over_budget(job, &ancestors, &accounts),
    }))
}

/// A sum as the store can keep it.
pub fn whole(amount: u64) -> u64 {
    amount.min(ACCOUNT_MAX.unsigned_abs())
}
