//! PROMOTE: jobs whose time has come are due.

use application::ports::Promoted;
use domain::{QueueKey, Timestamp};
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::Failure;
use crate::pipeline::prepare;
use crate::rows;
use crate::slots::{self, Changes, Keys};

const FIND: &str = "SELECT id, tenant_id, kind FROM jobs
    WHERE state = 'queued' AND NOT due AND run_after <= $1 ORDER BY run_after LIMIT $2";

/// Some may have moved on since they were found.
const PROMOTE: &str = "UPDATE jobs SET due = true
    WHERE id = ANY ($1::uuid[]) AND state = 'queued' AND NOT due AND run_after <= $2
    RETURNING tenant_id, kind, requires IS NULL AS plain";

const NEXT: &str =
    "SELECT run_after FROM jobs WHERE state = 'queued' AND NOT due ORDER BY run_after LIMIT 1";

pub(crate) async fn promote(
    store: &PostgresStore,
    limit: u32,
    now: Timestamp,
) -> Result<Promoted, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[FIND, slots::LOCK, PROMOTE, NEXT, &slots::APPLY]).await?;
    let find = tx.prepare_cached(FIND).await?;
    let found = tx.query(&find, &[&now, &i64::from(limit)]).await?;
    let mut promoted = Promoted::default();
    if !found.is_empty() {
        let ids: Vec<Uuid> = found
            .iter()
            .map(|row| rows::get(row, "id"))
            .collect::<Result<_, _>>()?;
        let queues: Vec<QueueKey> = found.iter().map(rows::queue).collect::<Result<_, _>>()?;
        let keys = Keys::of(queues);
        let promote = tx.prepare_cached(PROMOTE).await?;
        let ((), rows) = futures::try_join!(slots::lock(&tx, &keys), async {
            Ok(tx.query(&promote, &[&ids, &now]).await?)
        })?;
        let mut changes = Changes::default();
        for row in &rows {
            changes.of(rows::queue(row)?).due += i32::from(rows::get::<bool>(row, "plain")?);
        }
        promoted.jobs = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        promoted.slots = changes.apply(&tx, now).await?;
    }
    let next = tx.prepare_cached(NEXT).await?;
    let row = tx.query_opt(&next, &[]).await?;
    promoted.next = row.map(|row| rows::get(&row, "run_after")).transpose()?;
    tx.commit().await?;
    Ok(promoted)
}
