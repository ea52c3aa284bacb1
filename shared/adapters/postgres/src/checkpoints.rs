//! The checkpoints that a job has, and going back to an earlier one.

use application::ports::{CheckpointView, Restored};
use domain::{CHECKPOINTS_KEPT, EventKind, JobId, JobState, TenantId, Timestamp};
use tokio_postgres::Row;

use crate::PostgresStore;
use crate::error::Failure;
use crate::events::{Events, data};
use crate::history::of_job;
use crate::rows::{self, int};

const LIST: &str =
    "SELECT number, attempt, at, octet_length(data::text)::int8 AS bytes FROM checkpoints
    WHERE tenant_id = $1 AND job_id = $2 ORDER BY number";

pub(crate) async fn list(
    store: &PostgresStore,
    of: (TenantId, JobId),
) -> Result<Option<Vec<CheckpointView>>, Failure> {
    of_job(store, of, LIST, &[], view).await
}

fn view(row: &Row) -> Result<CheckpointView, Failure> {
    let bytes: i64 = rows::get(row, "bytes")?;
    Ok(CheckpointView {
        number: rows::count(row, "number")?,
        attempt: rows::count(row, "attempt")?,
        at: rows::get(row, "at")?,
        bytes: u64::try_from(bytes).unwrap_or_default(),
    })
}

/// Nobody else numbers a checkpoint of the job meanwhile.
const LOCK: &str =
    "SELECT state, attempt, event_seq FROM jobs WHERE tenant_id = $1 AND id = $2 FOR UPDATE";

const ADD: &str = "INSERT INTO checkpoints (job_id, number, tenant_id, attempt, at, data)
    SELECT job_id, (SELECT max(number) + 1 FROM checkpoints WHERE job_id = $1), tenant_id, $3, $4, data
    FROM checkpoints WHERE job_id = $1 AND number = $2
    RETURNING number, attempt, at, data";

const COUNT: &str = "UPDATE jobs SET event_seq = $2, updated_at = $3 WHERE id = $1";

const DROP: &str = "DELETE FROM checkpoints WHERE job_id = $1 AND number <= $2";

pub(crate) async fn restore(
    store: &PostgresStore,
    (tenant, job): (TenantId, JobId),
    number: u32,
    now: Timestamp,
) -> Result<Restored, Failure> {
    let id = job.as_uuid();
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let lock = tx.prepare_cached(LOCK).await?;
    let Some(row) = tx.query_opt(&lock, &[&tenant.as_uuid(), &id]).await? else {
        return Ok(Restored::NoJob);
    };
    let state: JobState = rows::named(&row, "state")?;
    if state.holds_slot() {
        return Ok(Restored::Running(state));
    }
    let attempt = rows::count(&row, "attempt")?;
    let seq: i64 = rows::get::<i64>(&row, "event_seq")? + 1;
    let add = tx.prepare_cached(ADD).await?;
    let added = tx
        .query_opt(&add, &[&id, &int(number), &int(attempt), &now])
        .await?;
    let Some(checkpoint) = added.as_ref().map(rows::checkpoint).transpose()? else {
        return Ok(Restored::NoCheckpoint);
    };
    let mut events = Events::default();
    let said = data([
        ("number", checkpoint.number.into()),
        ("restored", number.into()),
    ]);
    events.add((tenant, job), seq, EventKind::Checkpoint, attempt, &said)?;
    events.insert(&tx, now).await?;
    let count = tx.prepare_cached(COUNT).await?;
    tx.execute(&count, &[&id, &seq, &now]).await?;
    let oldest = checkpoint.number.saturating_sub(CHECKPOINTS_KEPT);
    let drop = tx.prepare_cached(DROP).await?;
    tx.execute(&drop, &[&id, &int(oldest)]).await?;
    tx.commit().await?;
    Ok(Restored::Done(checkpoint))
}
