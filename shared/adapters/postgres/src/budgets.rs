//! The accounts of sessions that name budgets: opened with the session, charged with what it and its descendants report,
//! granted again when one of them is resumed or tried again. Locked after jobs, in the order of the sessions' ids.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use application::ports::{Refused, Standing};
use deadpool_postgres::Transaction;
use domain::{Account, Job, JobId, JobSpec, Spent, TenantId, Used, over_budget};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::Failure;
use crate::json::{Jsonb, jsonb};
use crate::rows::{self, int};

/// No account counts further: sums stay sums.
const ACCOUNT_MAX: i64 = 1_000_000_000_000_000_000;

const OPEN: &str = "INSERT INTO budgets (job_id, tenant_id, limits, times, tokens, cost, steps)
    SELECT b.job_id, b.tenant_id, b.limits, 1, 0, 0, 0
    FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[]) AS b (job_id, tenant_id, limits)";

const READ: &str = "SELECT job_id, limits, times, tokens, cost, steps FROM budgets
    WHERE job_id = ANY ($1::uuid[]) ORDER BY job_id";

static LOCK: LazyLock<String> = LazyLock::new(|| format!("{READ} FOR UPDATE"));

/// Behind their lock.
const CHARGE: &str =
    "UPDATE budgets b SET tokens = least(b.tokens + c.tokens, $5), cost = b.cost + c.cost,
        steps = least(b.steps + c.steps, $5)
    FROM unnest($1::uuid[], $2::int8[], $3::float8[], $4::int8[]) AS c (job_id, tokens, cost, steps)
    WHERE b.job_id = c.job_id
    RETURNING b.job_id, b.limits, b.times, b.tokens, b.cost, b.steps";

const GRANT: &str = "UPDATE budgets b SET times = g.times
    FROM unnest($1::uuid[], $2::int4[]) AS g (job_id, times) WHERE b.job_id = g.job_id";

const STANDING: &str = "SELECT spent, ancestors FROM jobs WHERE tenant_id = $1 AND id = $2";

const ANCESTORS: &str = "SELECT ancestors FROM jobs WHERE id = $1";

pub(crate) type Accounts = BTreeMap<JobId, Account>;

fn account(row: &Row) -> Result<(JobId, Account), Failure> {
    let account = Account {
        limits: rows::json(row, "limits")?,
        times: rows::count(row, "times")?,
        used: Used {
            tokens: rows::amount(row, "tokens")?,
            cost: rows::get(row, "cost")?,
            steps: rows::amount(row, "steps")?,
        },
    };
    Ok((rows::job_id(row, "job_id")?, account))
}

/// Of new sessions.
pub(crate) async fn open(tx: &Transaction<'_>, jobs: &[Job]) -> Result<(), Failure> {
    let mut ids: Vec<Uuid> = Vec::new();
    let mut tenants: Vec<Uuid> = Vec::new();
    let mut limits: Vec<Jsonb> = Vec::new();
    for job in jobs {
        let JobSpec::Session(session) = &job.spec else {
            continue;
        };
        if let Some(budget) = &session.demands.budget {
            ids.push(job.id.as_uuid());
            tenants.push(job.tenant.as_uuid());
            limits.push(jsonb(budget)?);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    let open = tx.prepare_cached(OPEN).await?;
    tx.execute(&open, &[&ids, &tenants, &limits]).await?;
    Ok(())
}

/// Those that there are.
pub(crate) async fn read(
    tx: &Transaction<'_>,
    owners: impl IntoIterator<Item = JobId>,
) -> Result<Accounts, Failure> {
    query(tx, READ, owners).await
}

async fn query(
    tx: &Transaction<'_>,
    sql: &str,
    owners: impl IntoIterator<Item = JobId>,
) -> Result<Accounts, Failure> {
    let owners: Vec<Uuid> = owners.into_iter().map(JobId::as_uuid).collect();
    let query = tx.prepare_cached(sql).await?;
    let rows = tx.query(&query, &[&owners]).await?;
    rows.iter().map(account).collect()
}

/// Returns the accounts as they are then.
pub(crate) async fn charge(
    tx: &Transaction<'_>,
    charges: &BTreeMap<JobId, Used>,
) -> Result<Accounts, Failure> {
    let found = query(tx, &LOCK, charges.keys().copied()).await?;
    if found.is_empty() {
        return Ok(found);
    }
    let charges: Vec<(&JobId, &Used)> = charges
        .iter()
        .filter(|(owner, _)| found.contains_key(owner))
        .collect();
    let owners: Vec<Uuid> = charges.iter().map(|(owner, _)| owner.as_uuid()).collect();
    let tokens: Vec<i64> = charges.iter().map(|(_, used)| whole(used.tokens)).collect();
    let costs: Vec<f64> = charges.iter().map(|(_, used)| used.cost).collect();
    let steps: Vec<i64> = charges.iter().map(|(_, used)| whole(used.steps)).collect();
    let charge = tx.prepare_cached(CHARGE).await?;
    let rows = tx
        .query(&charge, &[&owners, &tokens, &costs, &steps, &ACCOUNT_MAX])
        .await?;
    rows.iter().map(account).collect()
}

/// What an action that grants needs: whatever is used up that the job draws on is granted once more.
pub(crate) async fn grant(
    tx: &Transaction<'_>,
    job: JobId,
) -> Result<Result<(), Refused>, Failure> {
    let ancestors = tx.prepare_cached(ANCESTORS).await?;
    let row = tx.query_one(&ancestors, &[&job.as_uuid()]).await?;
    let line = rows::job_ids(&row, "ancestors")?.into_iter().chain([job]);
    let mut owners: Vec<Uuid> = Vec::new();
    let mut times: Vec<i32> = Vec::new();
    for (of, account) in query(tx, &LOCK, line).await? {
        let Some(what) = account.used_up() else {
            continue;
        };
        if account.stops() {
            return Ok(Err(Refused::BudgetUsedUp { of, what }));
        }
        owners.push(of.as_uuid());
        times.push(int(account.granted().times));
    }
    if !owners.is_empty() {
        let grant = tx.prepare_cached(GRANT).await?;
        tx.execute(&grant, &[&owners, &times]).await?;
    }
    Ok(Ok(()))
}

/// `EngineStore::standing`.
pub(crate) async fn standing(
    store: &PostgresStore,
    tenant: TenantId,
    job: JobId,
) -> Result<Option<Standing>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let find = tx.prepare_cached(STANDING).await?;
    let Some(row) = tx
        .query_opt(&find, &[&tenant.as_uuid(), &job.as_uuid()])
        .await?
    else {
        return Ok(None);
    };
    let spent: Option<Spent> = rows::json_or_null(&row, "spent")?;
    let ancestors = rows::job_ids(&row, "ancestors")?;
    let accounts = read(&tx, ancestors.iter().copied().chain([job])).await?;
    Ok(Some(Standing {
        spent: spent.unwrap_or_default(),
        over: over_budget(job, &ancestors, &accounts),
    }))
}

/// A sum as the store keeps it.
pub(crate) fn whole(amount: u64) -> i64 {
    i64::try_from(amount)
        .unwrap_or(ACCOUNT_MAX)
        .min(ACCOUNT_MAX)
}
