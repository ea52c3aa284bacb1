//! EXPIRE: jobs that still wait when their deadline comes have failed.

use application::ports::Moved;
use domain::{JobError, Timestamp};

use crate::PostgresStore;
use crate::end::{self, Move};
use crate::error::Failure;

const FIND: &str = "SELECT id, tenant_id FROM jobs
    WHERE deadline IS NOT NULL AND state IN ('pending', 'queued', 'paused') AND deadline <= $1
    ORDER BY deadline LIMIT $2";

pub(crate) async fn expire(
    store: &PostgresStore,
    limit: u32,
    now: Timestamp,
) -> Result<Moved, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let find = tx.prepare_cached(FIND).await?;
    let found = tx.query(&find, &[&now, &i64::from(limit)]).await?;
    if found.is_empty() {
        return Ok(Moved::default());
    }
    let moves = end::lock(&tx, &found)
        .await?
        .into_iter()
        .filter_map(|stored| {
            let deadline = stored.job.deadline.filter(|at| *at <= now)?;
            let begun = if stored.job.attempt == 0 {
                "begun"
            } else {
                "ended"
            };
            let by = deadline.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
            let error = JobError::new("DEADLINE_PASSED", format!("it had not {begun} by {by}"));
            Some(Move::failed(stored, error, now))
        })
        .collect();
    let expired = end::write(&tx, moves, now).await?;
    tx.commit().await?;
    Ok(expired)
}
