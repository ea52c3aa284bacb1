//! The jobs that failed for good and match a filter: in groups, counted, and taken for a replay. Nothing here changes
//! them.

use application::ports::StoreError;
use domain::{DeadLetterFilter, DeadLetterGroup, JobId, JobKind, Replay, TenantId};
use sqlx::sqlite::SqliteRow;

use crate::error::failed;
use crate::rows::{Reader, Stored, stored};
use crate::statement::{Bound, all};
use crate::{SqliteStore, Write};

/// `?1` tenant, `?2` kind, `?3` fingerprint, `?4` error code: what [`bound`] binds.
macro_rules! matches {
    () => {
        "tenant_id = ?1 AND fingerprint IS NOT NULL AND (?2 IS NULL OR kind = ?2)
         AND (?3 IS NULL OR fingerprint = ?3)
         AND (?4 IS NULL OR substr(fingerprint, 1, length(?4) + 2) = ?4 || ': ')"
    };
}

const GROUPS: &str = concat!(
    "SELECT g.*, (SELECT id FROM jobs AS j
                  WHERE j.tenant_id = ?1 AND j.fingerprint = g.fingerprint AND j.kind = g.kind
                  ORDER BY j.finished_at DESC, j.id DESC LIMIT 1) AS latest
     FROM (SELECT kind, fingerprint, count(*) AS jobs, min(finished_at) AS first_at, max(finished_at) AS last_at
           FROM jobs WHERE ",
    matches!(),
    " GROUP BY kind, fingerprint ORDER BY jobs DESC, last_at DESC LIMIT +?5) AS g
     ORDER BY g.jobs DESC, g.last_at DESC"
);
const COUNT: &str = concat!("SELECT count(*) AS jobs FROM jobs WHERE ", matches!());
/// From the cursor on in one range: a replay would else go through all of before at each step.
const NEXT: &str = concat!(
    "SELECT * FROM jobs WHERE ",
    matches!(),
    " AND id > coalesce(?5, zeroblob(16)) AND finished_at <= ?6 ORDER BY id LIMIT +?7"
);

fn bound<'q>(sql: &'static str, tenant: TenantId, filter: &'q DeadLetterFilter) -> Bound<'q> {
    sqlx::query(sql)
        .bind(tenant.as_uuid())
        .bind(filter.kind.map(JobKind::as_str))
        .bind(&filter.fingerprint)
        .bind(&filter.code)
}

pub async fn groups(
    store: &SqliteStore,
    tenant: TenantId,
    filter: &DeadLetterFilter,
    limit: u32,
) -> Result<Vec<DeadLetterGroup>, StoreError> {
    let query = bound(GROUPS, tenant, filter).bind(limit);
    all(&store.readers, query, group).await
}

fn group(row: &SqliteRow) -> Result<DeadLetterGroup, StoreError> {
    let row = Reader(row);
    Ok(DeadLetterGroup {
        kind: row.name("kind")?,
        fingerprint: row.get("fingerprint")?,
        count: row.count("jobs")?,
        first_at: row.time("first_at")?,
        last_at: row.time("last_at")?,
        latest: row.job_id("latest")?,
    })
}

pub async fn count(
    store: &SqliteStore,
    tenant: TenantId,
    filter: &DeadLetterFilter,
) -> Result<u32, StoreError> {
    let row = bound(COUNT, tenant, filter)
        .fetch_one(&store.readers)
        .await
        .map_err(failed)?;
    Reader(&row).count("jobs")
}

/// Those after the replay's cursor. One that came after the replay was made is not part of it.
pub async fn next(tx: &mut Write, replay: &Replay, limit: u32) -> Result<Vec<Stored>, StoreError> {
    let query = bound(NEXT, replay.tenant, &replay.filter)
        .bind(replay.cursor.map(JobId::as_uuid))
        .bind(replay.created_at.timestamp_micros())
        .bind(limit);
    all(&mut **tx, query, stored).await
}
