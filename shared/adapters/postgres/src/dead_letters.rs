//! The jobs that failed for good and match a filter: in groups, counted, and taken for a replay. Nothing here changes
//! them.

use std::sync::LazyLock;

use deadpool_postgres::Transaction;
use domain::{DeadLetterFilter, DeadLetterGroup, JobId, JobKind, Replay, TenantId};
use tokio_postgres::Row;

use crate::error::Failure;
use crate::rows::{self, JOB, StoredJob};
use crate::{PostgresStore, statement};

/// `$1` tenant, `$2` kind, `$3` fingerprint, `$4` error code.
const MATCHES: &str = "j.tenant_id = $1 AND j.fingerprint IS NOT NULL AND ($2::text IS NULL OR j.kind = $2)
    AND ($3::text IS NULL OR j.fingerprint = $3) AND ($4::text IS NULL OR starts_with(j.fingerprint, $4 || ': '))";

static GROUPS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT j.kind, j.fingerprint, count(*) AS jobs, min(j.finished_at) AS first_at, max(j.finished_at) AS last_at,
            (array_agg(j.id ORDER BY j.finished_at DESC, j.id DESC))[1] AS latest
        FROM jobs j WHERE {MATCHES}
        GROUP BY j.kind, j.fingerprint ORDER BY jobs DESC, last_at DESC LIMIT $5"
    )
});
static COUNT: LazyLock<String> =
    LazyLock::new(|| format!("SELECT count(*) AS jobs FROM jobs j WHERE {MATCHES}"));
/// From the cursor on in one range, with which an index begins: a replay would else go through all of before at each step.
static NEXT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {JOB} FROM jobs j WHERE {MATCHES} AND j.id > coalesce($5::uuid, '00000000-0000-0000-0000-000000000000')
            AND j.finished_at <= $6
        ORDER BY j.id LIMIT $7 FOR UPDATE OF j"
    )
});

pub(crate) async fn groups(
    store: &PostgresStore,
    tenant: TenantId,
    filter: &DeadLetterFilter,
    limit: u32,
) -> Result<Vec<DeadLetterGroup>, Failure> {
    statement::all(
        store,
        &GROUPS,
        &[
            &tenant.as_uuid(),
            &filter.kind.map(JobKind::as_str),
            &filter.fingerprint,
            &filter.code,
            &i64::from(limit),
        ],
        group,
    )
    .await
}

fn group(row: &Row) -> Result<DeadLetterGroup, Failure> {
    Ok(DeadLetterGroup {
        kind: rows::named(row, "kind")?,
        fingerprint: rows::get(row, "fingerprint")?,
        count: jobs(row)?,
        first_at: rows::get(row, "first_at")?,
        last_at: rows::get(row, "last_at")?,
        latest: rows::job_id(row, "latest")?,
    })
}

fn jobs(row: &Row) -> Result<u32, Failure> {
    let jobs: i64 = rows::get(row, "jobs")?;
    u32::try_from(jobs).map_err(Failure::unexpected)
}

pub(crate) async fn count(
    store: &PostgresStore,
    tenant: TenantId,
    filter: &DeadLetterFilter,
) -> Result<u32, Failure> {
    let client = store.client().await?;
    let statement = client.prepare_cached(&COUNT).await?;
    let kind = filter.kind.map(JobKind::as_str);
    let row = client
        .query_one(
            &statement,
            &[&tenant.as_uuid(), &kind, &filter.fingerprint, &filter.code],
        )
        .await?;
    jobs(&row)
}

/// Those after the replay's cursor, locked. One that came after the replay was made is not part of it.
pub(crate) async fn next(
    tx: &Transaction<'_>,
    replay: &Replay,
    limit: u32,
) -> Result<Vec<StoredJob>, Failure> {
    let statement = tx.prepare_cached(&NEXT).await?;
    let filter = &replay.filter;
    let rows = tx
        .query(
            &statement,
            &[
                &replay.tenant.as_uuid(),
                &filter.kind.map(JobKind::as_str),
                &filter.fingerprint,
                &filter.code,
                &replay.cursor.map(JobId::as_uuid),
                &replay.created_at,
                &i64::from(limit),
            ],
        )
        .await?;
    rows.iter().map(rows::job).collect()
}
