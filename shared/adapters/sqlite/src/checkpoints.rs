//! The checkpoints that a job has, and going back to an earlier one.

use application::ports::{CheckpointView, Restored, StoreError};
use domain::{CHECKPOINTS_KEPT, Checkpoint, EventKind, JobId, TenantId, Timestamp};
use serde_json::Map;

use crate::SqliteStore;
use crate::error::{corrupt, failed};
use crate::events::{self, EventRow};
use crate::history::of_job;
use crate::rows::{Reader, stored};

pub async fn list(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
) -> Result<Option<Vec<CheckpointView>>, StoreError> {
    let rows = sqlx::query(
        "SELECT number, attempt, at, length(CAST(data AS blob)) AS bytes FROM checkpoints
         WHERE job_id = ? AND tenant_id = ? ORDER BY number",
    )
    .bind(job.as_uuid())
    .bind(tenant.as_uuid())
    .fetch_all(&store.readers)
    .await;
    of_job(store, tenant, job, rows, view).await
}

fn view(row: &Reader<'_>) -> Result<CheckpointView, StoreError> {
    let bytes: i64 = row.get("bytes")?;
    Ok(CheckpointView {
        number: row.count("number")?,
        attempt: row.count("attempt")?,
        at: row.time("at")?,
        bytes: u64::try_from(bytes).map_err(corrupt)?,
    })
}

pub async fn restore(
    store: &SqliteStore,
    tenant: TenantId,
    job: JobId,
    number: u32,
    now: Timestamp,
) -> Result<Restored, StoreError> {
    let mut tx = store.write().await?;
    let found = sqlx::query("SELECT * FROM jobs WHERE id = ? AND tenant_id = ?")
        .bind(job.as_uuid())
        .bind(tenant.as_uuid())
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
    let Some(found) = found.as_ref().map(stored).transpose()? else {
        return Ok(Restored::NoJob);
    };
    let state = found.job.state();
    if state.holds_slot() {
        return Ok(Restored::Running(state));
    }
    let added = sqlx::query(
        "INSERT INTO checkpoints (job_id, number, tenant_id, attempt, at, data)
         SELECT job_id, (SELECT max(number) + 1 FROM checkpoints WHERE job_id = ?1), tenant_id, ?3, ?4, data
         FROM checkpoints WHERE job_id = ?1 AND number = ?2
         RETURNING number, attempt, at, data",
    )
    .bind(job.as_uuid())
    .bind(number)
    .bind(found.job.attempt)
    .bind(now.timestamp_micros())
    .fetch_optional(&mut *tx)
    .await
    .map_err(failed)?;
    let Some(row) = added else {
        return Ok(Restored::NoCheckpoint);
    };
    let row = Reader(&row);
    let checkpoint = Checkpoint {
        number: row.count("number")?,
        attempt: row.count("attempt")?,
        at: row.time("at")?,
        data: row.json("data")?,
    };
    let data = Map::from_iter([
        ("number".to_owned(), checkpoint.number.into()),
        ("restored".to_owned(), number.into()),
    ]);
    let seq = found.event_seq + 1;
    let event = EventRow::of(&found.job, seq, EventKind::Checkpoint, now).with(&data)?;
    events::write(&mut tx, &[event]).await?;
    for statement in [
        "UPDATE jobs SET event_seq = event_seq + 1, updated_at = ?2 WHERE id = ?1",
        "DELETE FROM checkpoints WHERE job_id = ?1 AND ?2 > 0
             AND number <= (SELECT max(number) FROM checkpoints WHERE job_id = ?1) - ?3",
    ] {
        sqlx::query(statement)
            .bind(job.as_uuid())
            .bind(now.timestamp_micros())
            .bind(CHECKPOINTS_KEPT)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
    }
    tx.commit().await.map_err(failed)?;
    Ok(Restored::Done(checkpoint))
}
