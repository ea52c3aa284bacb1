//! PROMOTE: queued jobs whose time has come.

use application::ports::{Promoted, StoreError};
use domain::Timestamp;
use sqlx::SqliteExecutor;

use crate::SqliteStore;
use crate::error::failed;
use crate::rows::Reader;
use crate::slots::Deltas;

pub async fn promote(
    store: &SqliteStore,
    limit: u32,
    now: Timestamp,
) -> Result<Promoted, StoreError> {
    // Most often there is none, and nobody who writes has to wait for this look.
    let next = next(&store.readers).await?;
    if next.is_none_or(|next| next > now) {
        return Ok(Promoted {
            next,
            ..Promoted::default()
        });
    }
    let mut tx = store.write().await?;
    let rows = sqlx::query(
        "UPDATE jobs SET due = 1
         WHERE rowid IN (SELECT rowid FROM jobs INDEXED BY jobs_scheduled
                         WHERE state = 'queued' AND NOT due AND run_after <= ? ORDER BY run_after LIMIT +?)
         RETURNING tenant_id, kind, requires IS NULL AS plain",
    )
    .bind(now.timestamp_micros())
    .bind(limit)
    .fetch_all(&mut *tx)
    .await
    .map_err(failed)?;
    let mut deltas = Deltas::default();
    for row in &rows {
        let row = Reader(row);
        deltas.of(row.queue()?).due += row.get::<i64>("plain")?;
    }
    let slots = deltas.apply(&mut tx).await?;
    let next = self::next(&mut *tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Promoted {
        jobs: u32::try_from(rows.len()).unwrap_or(u32::MAX),
        slots,
        next,
    })
}

async fn next(executor: impl SqliteExecutor<'_>) -> Result<Option<Timestamp>, StoreError> {
    let row = sqlx::query(
        "SELECT min(run_after) AS next FROM jobs INDEXED BY jobs_scheduled WHERE state = 'queued' AND NOT due",
    )
    .fetch_one(executor)
    .await
    .map_err(failed)?;
    Reader(&row).maybe_time("next")
}
