//! RECONCILE: counts made true again, and messages that nobody came for taken back.
//!
//! A snapshot sees jobs and counts of the same moment, and every transaction keeps them equal: any difference found
//! is a defect or somebody else's hands. What is found without locks is done under them, and only there.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use application::ports::Reconciled;
use deadpool_postgres::Transaction;
use domain::{QueueKey, SlotSnapshot, Timestamp};
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::Failure;
use crate::pipeline::prepare;
use crate::rows::{self, SLOT};
use crate::slots::{Changes, Keys, lock};

/// Counting a deep backlog takes longer than the store's other work may.
const LONGER: &str = "SET LOCAL statement_timeout = '5min'";

/// Each count from the index that holds just the jobs it counts.
const DRIFTED: &str = "SELECT s.tenant_id, s.kind FROM tenant_slots s
    LEFT JOIN (SELECT tenant_id, kind, count(*) AS jobs FROM jobs
        WHERE state IN ('running', 'degraded') GROUP BY tenant_id, kind) r USING (tenant_id, kind)
    LEFT JOIN (SELECT tenant_id, kind, count(*) AS jobs FROM jobs
        WHERE state = 'queued' AND queued_at IS NOT NULL GROUP BY tenant_id, kind) q USING (tenant_id, kind)
    LEFT JOIN (SELECT tenant_id, kind, count(*) AS jobs FROM jobs
        WHERE state = 'queued' AND published_at IS NOT NULL GROUP BY tenant_id, kind) m USING (tenant_id, kind)
    LEFT JOIN (SELECT tenant_id, kind, count(*) AS jobs FROM jobs
        WHERE state = 'pending' GROUP BY tenant_id, kind) p USING (tenant_id, kind)
    WHERE (s.running, s.queued, s.published, s.pending)
        IS DISTINCT FROM (coalesce(r.jobs, 0), coalesce(q.jobs, 0), coalesce(m.jobs, 0), coalesce(p.jobs, 0))";

static RECOUNT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE tenant_slots s SET running = c.running, queued = c.queued, published = c.published,
            pending = c.pending, version = s.version + 1
        FROM (
            SELECT k.tenant_id, k.kind,
                count(j.id) FILTER (WHERE j.state IN ('running', 'degraded')) AS running,
                count(j.id) FILTER (WHERE j.state = 'queued') AS queued,
                count(j.published_at) FILTER (WHERE j.state = 'queued') AS published,
                count(j.id) FILTER (WHERE j.state = 'pending') AS pending
            FROM unnest($1::uuid[], $2::text[]) AS k (tenant_id, kind)
            LEFT JOIN jobs j ON j.tenant_id = k.tenant_id AND j.kind = k.kind
                AND j.state IN ('running', 'degraded', 'queued', 'pending')
            GROUP BY k.tenant_id, k.kind
        ) AS c
        JOIN tenants t ON t.id = c.tenant_id
        WHERE s.tenant_id = c.tenant_id AND s.kind = c.kind
        RETURNING {SLOT}"
    )
});

/// A paused queue's messages are left: taking them back would only bring them again.
const STALE: &str =
    "SELECT s.tenant_id, s.kind FROM tenant_slots s JOIN tenants t ON t.id = s.tenant_id
    WHERE s.published > 0 AND s.running < s.quota AND NOT s.paused AND t.active
        AND EXISTS (SELECT FROM jobs j WHERE j.tenant_id = s.tenant_id AND j.kind = s.kind
            AND j.state = 'queued' AND j.published_at < $1)";

/// Free slots are asked for again: this runs behind the lock.
const TAKE_BACK: &str = "UPDATE jobs j SET published_at = NULL
    FROM unnest($2::uuid[], $3::text[]) AS k (tenant_id, kind)
    JOIN tenant_slots s ON s.tenant_id = k.tenant_id AND s.kind = k.kind AND s.running < s.quota
    WHERE j.tenant_id = k.tenant_id AND j.kind = k.kind AND j.state = 'queued' AND j.published_at < $1
    RETURNING j.tenant_id, j.kind";

pub(crate) async fn reconcile(
    store: &PostgresStore,
    stale: Duration,
    now: Timestamp,
) -> Result<Reconciled, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    tx.batch_execute(LONGER).await?;
    let before = now - stale;
    let drifted = find(&tx, DRIFTED, &[]).await?;
    let stale = find(&tx, STALE, &[&before]).await?;
    if drifted.is_empty() && stale.is_empty() {
        return Ok(Reconciled::default());
    }
    let all = Keys::of(drifted.iter().chain(&stale).copied());
    lock(&tx, &all).await?;
    let (unpublished, taken_back) = take_back(&tx, stale, before).await?;
    let repaired = recount(&tx, &drifted).await?;
    tx.commit().await?;
    // A queue that is in both was changed twice; the later snapshot counts.
    let slots: BTreeMap<QueueKey, SlotSnapshot> = taken_back
        .into_iter()
        .chain(repaired)
        .map(|slot| (slot.queue, slot))
        .collect();
    Ok(Reconciled {
        drifted,
        unpublished,
        slots: slots.into_values().collect(),
    })
}

async fn find(
    tx: &Transaction<'_>,
    sql: &str,
    params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<Vec<QueueKey>, Failure> {
    let find = tx.prepare_cached(sql).await?;
    let rows = tx.query(&find, params).await?;
    rows.iter().map(rows::queue).collect()
}

async fn take_back(
    tx: &Transaction<'_>,
    stale: Vec<QueueKey>,
    before: Timestamp,
) -> Result<(u32, Vec<SlotSnapshot>), Failure> {
    if stale.is_empty() {
        return Ok((0, Vec::new()));
    }
    let keys = Keys::of(stale);
    let take_back = tx.prepare_cached(TAKE_BACK).await?;
    let rows = tx
        .query(&take_back, &[&before, &keys.tenants, &keys.kinds])
        .await?;
    let mut changes = Changes::default();
    for row in &rows {
        changes.of(rows::queue(row)?).published -= 1;
    }
    let taken = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    Ok((taken, changes.apply(tx).await?))
}

async fn recount(tx: &Transaction<'_>, drifted: &[QueueKey]) -> Result<Vec<SlotSnapshot>, Failure> {
    if drifted.is_empty() {
        return Ok(Vec::new());
    }
    let keys = Keys::of(drifted.iter().copied());
    let recount = tx.prepare_cached(&RECOUNT).await?;
    let rows = tx.query(&recount, &[&keys.tenants, &keys.kinds]).await?;
    rows.iter().map(rows::slot).collect()
}

/// Queues forgotten in one transaction, so that claims wait for a moment only.
const FORGET_AT_ONCE: i64 = 500;

const WITH_MESSAGES: &str = "SELECT tenant_id, kind FROM tenant_slots
    WHERE published > 0 AND (tenant_id, kind) > ($2, $3)
    ORDER BY tenant_id, kind LIMIT $1 FOR UPDATE";

const FORGET: &str = "UPDATE jobs j SET published_at = NULL
    FROM unnest($1::uuid[], $2::text[]) AS k (tenant_id, kind)
    WHERE j.tenant_id = k.tenant_id AND j.kind = k.kind AND j.state = 'queued' AND j.published_at IS NOT NULL";

static NO_MESSAGES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE tenant_slots s SET published = 0, version = s.version + 1
        FROM unnest($1::uuid[], $2::text[]) AS k (tenant_id, kind)
        JOIN tenants t ON t.id = k.tenant_id
        WHERE s.tenant_id = k.tenant_id AND s.kind = k.kind
        RETURNING {SLOT}"
    )
});

/// `EngineStore::forget_published`. In several transactions, each whole: broken off, it is begun again, because the
/// broker's marker is set only after it.
pub(crate) async fn forget_published(store: &PostgresStore) -> Result<Vec<SlotSnapshot>, Failure> {
    let mut client = store.client().await?;
    let mut forgotten = Vec::new();
    // By key, so that it ends even while a relay publishes again behind it.
    let mut after = (Uuid::nil(), "");
    loop {
        let tx = client.transaction().await?;
        let queues = find(&tx, WITH_MESSAGES, &[&FORGET_AT_ONCE, &after.0, &after.1]).await?;
        let Some(last) = queues.last() else {
            return Ok(forgotten);
        };
        after = (last.tenant.as_uuid(), last.kind.as_str());
        forgotten.extend(forget(&tx, queues).await?);
        tx.commit().await?;
    }
}

async fn forget(tx: &Transaction<'_>, queues: Vec<QueueKey>) -> Result<Vec<SlotSnapshot>, Failure> {
    let keys = Keys::of(queues);
    prepare(tx, &[FORGET, &NO_MESSAGES]).await?;
    let forget = tx.prepare_cached(FORGET).await?;
    let no_messages = tx.prepare_cached(&NO_MESSAGES).await?;
    let (_, rows) = futures::try_join!(
        async { tx.execute(&forget, &[&keys.tenants, &keys.kinds]).await },
        async { tx.query(&no_messages, &[&keys.tenants, &keys.kinds]).await }
    )?;
    rows.iter().map(rows::slot).collect()
}

static WITH_WORK: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {SLOT} FROM tenant_slots s JOIN tenants t ON t.id = s.tenant_id
        WHERE s.queued > 0 OR s.running > 0
        ORDER BY s.tenant_id, s.kind LIMIT $1"
    )
});

/// `EngineStore::slots`.
pub(crate) async fn slots(store: &PostgresStore, limit: u32) -> Result<Vec<SlotSnapshot>, Failure> {
    let client = store.client().await?;
    let with_work = client.prepare_cached(&WITH_WORK).await?;
    let rows = client.query(&with_work, &[&i64::from(limit)]).await?;
    rows.iter().map(rows::slot).collect()
}
