//! RECONCILE: counts made true again, and queues named whose wake-ups may be lost.
//!
//! A snapshot sees jobs and counts of the same moment, and every transaction keeps them equal: any difference found
//! is a defect or somebody else's hands. What is found without locks is done under them, and only there.

use std::sync::LazyLock;
use std::time::Duration;

use application::ports::Reconciled;
use deadpool_postgres::Transaction;
use domain::{QueueKey, SlotSnapshot, Timestamp};
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::Failure;
use crate::pipeline::prepare;
use crate::rows::{self, SLOT, int};
use crate::slots::{self, Keys, lock};

/// Counting a deep backlog takes longer than the store's other work may, and is done by reading much at once.
const LONGER: &str = "SET LOCAL statement_timeout = '5min';
    SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on";

/// Each count from the index that holds just the jobs it counts. Never prepared: its plan is to be of today's sizes.
const DRIFTED: &str = "SELECT s.tenant_id, s.kind FROM tenant_slots s
    LEFT JOIN (SELECT tenant_id, kind, count(*) AS jobs FROM jobs
        WHERE state IN ('running', 'degraded') GROUP BY tenant_id, kind) r USING (tenant_id, kind)
    LEFT JOIN (SELECT tenant_id, kind, count(*) AS jobs FROM jobs
        WHERE state = 'queued' AND queued_at IS NOT NULL GROUP BY tenant_id, kind) q USING (tenant_id, kind)
    LEFT JOIN (SELECT tenant_id, kind, count(*) AS jobs FROM jobs
        WHERE state = 'queued' AND due AND requires IS NULL GROUP BY tenant_id, kind) d USING (tenant_id, kind)
    LEFT JOIN (SELECT tenant_id, kind, count(*) AS jobs FROM jobs
        WHERE state = 'pending' GROUP BY tenant_id, kind) p USING (tenant_id, kind)
    WHERE (s.running, s.queued, s.due, s.pending)
        IS DISTINCT FROM (coalesce(r.jobs, 0), coalesce(q.jobs, 0), coalesce(d.jobs, 0), coalesce(p.jobs, 0))";

static RECOUNT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE tenant_slots s SET running = c.running, queued = c.queued, due = c.due, pending = c.pending,
            version = s.version + 1
        FROM (
            SELECT k.tenant_id, k.kind,
                count(j.id) FILTER (WHERE j.state IN ('running', 'degraded')) AS running,
                count(j.id) FILTER (WHERE j.state = 'queued') AS queued,
                count(j.id) FILTER (WHERE j.state = 'queued' AND j.due AND j.requires IS NULL) AS due,
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

/// Silent queues named at once. Those with nothing wrong stay silent and are named again, so these are all there can be.
const SILENT_AT_ONCE: i64 = 20_000;

static SILENT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {SLOT} FROM tenant_slots s JOIN tenants t ON t.id = s.tenant_id
        WHERE s.published > 0 AND s.due > 0 AND s.running < s.quota AND NOT s.paused AND t.active
        AND (s.kind <> 'session' OR t.budget_until IS NULL)
            AND s.touched_at <= $1
        ORDER BY s.touched_at, s.tenant_id, s.kind LIMIT $2"
    )
});

pub(crate) async fn reconcile(
    store: &PostgresStore,
    silence: Duration,
    now: Timestamp,
) -> Result<Reconciled, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    tx.batch_execute(LONGER).await?;
    let rows = tx.query(DRIFTED, &[]).await?;
    let drifted: Vec<QueueKey> = rows.iter().map(rows::queue).collect::<Result<_, _>>()?;
    let slots = recount(&tx, &drifted).await?;
    let rows = tx
        .query(SILENT.as_str(), &[&(now - silence), &SILENT_AT_ONCE])
        .await?;
    let silent = rows.iter().map(rows::slot).collect::<Result<_, _>>()?;
    tx.commit().await?;
    Ok(Reconciled {
        drifted,
        slots,
        silent,
    })
}

async fn recount(tx: &Transaction<'_>, drifted: &[QueueKey]) -> Result<Vec<SlotSnapshot>, Failure> {
    if drifted.is_empty() {
        return Ok(Vec::new());
    }
    let keys = Keys::of(drifted.iter().copied());
    lock(tx, &keys).await?;
    let rows = tx
        .query(RECOUNT.as_str(), &[&keys.tenants, &keys.kinds])
        .await?;
    rows.iter().map(rows::slot).collect()
}

static RECOUNT_PUBLISHED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE tenant_slots s SET published = k.published, version = s.version + 1
        FROM unnest($1::uuid[], $2::text[], $3::int8[], $4::int4[]) AS k (tenant_id, kind, version, published)
        JOIN tenants t ON t.id = k.tenant_id
        WHERE s.tenant_id = k.tenant_id AND s.kind = k.kind AND s.version = k.version
            AND s.published <> k.published
        RETURNING {SLOT}"
    )
});

/// `EngineStore::recount_published`.
pub(crate) async fn recount_published(
    store: &PostgresStore,
    mut counted: Vec<(SlotSnapshot, u32)>,
) -> Result<Vec<SlotSnapshot>, Failure> {
    counted.sort_unstable_by_key(|(seen, _)| seen.queue);
    counted.dedup_by_key(|(seen, _)| seen.queue);
    let keys = Keys::of(counted.iter().map(|(seen, _)| seen.queue));
    let versions: Vec<i64> = counted.iter().map(|(seen, _)| seen.version).collect();
    let counts: Vec<i32> = counted.iter().map(|(_, count)| int(*count)).collect();
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[slots::LOCK, &RECOUNT_PUBLISHED]).await?;
    let recount = tx.prepare_cached(&RECOUNT_PUBLISHED).await?;
    let ((), rows) = futures::try_join!(lock(&tx, &keys), async {
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&keys.tenants, &keys.kinds, &versions, &counts];
        Ok(tx.query(&recount, &params).await?)
    })?;
    tx.commit().await?;
    rows.iter().map(rows::slot).collect()
}

/// Queues forgotten in one transaction, so that claims wait for a moment only.
const FORGET_AT_ONCE: i64 = 500;

const WITH_WAKEUPS: &str = "SELECT tenant_id, kind FROM tenant_slots
    WHERE published > 0 AND (tenant_id, kind) > ($2, $3)
    ORDER BY tenant_id, kind LIMIT $1 FOR UPDATE";

static FORGET: LazyLock<String> = LazyLock::new(|| {
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
        let find = tx.prepare_cached(WITH_WAKEUPS).await?;
        let rows = tx
            .query(&find, &[&FORGET_AT_ONCE, &after.0, &after.1])
            .await?;
        let queues: Vec<QueueKey> = rows.iter().map(rows::queue).collect::<Result<_, _>>()?;
        let Some(last) = queues.last() else {
            return Ok(forgotten);
        };
        after = (last.tenant.as_uuid(), last.kind.as_str());
        let keys = Keys::of(queues);
        let forget = tx.prepare_cached(&FORGET).await?;
        for row in &tx.query(&forget, &[&keys.tenants, &keys.kinds]).await? {
            forgotten.push(rows::slot(row)?);
        }
        tx.commit().await?;
    }
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
