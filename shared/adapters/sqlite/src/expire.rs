//! EXPIRE: jobs that still wait when their deadline comes. One that runs then is ended by its worker.

use application::ports::{Moved, StoreError};
use chrono::SecondsFormat;
use domain::{JobError, Timestamp};
use sqlx::SqliteExecutor;

use crate::SqliteStore;
use crate::error::failed;
use crate::moves::{self, Move};
use crate::rows::{Stored, stored};
use crate::slots::Deltas;

pub async fn expire(store: &SqliteStore, limit: u32, now: Timestamp) -> Result<Moved, StoreError> {
    // Most often there is none, and nobody who writes has to wait for this look.
    if passed(&store.readers, 1, now).await?.is_empty() {
        return Ok(Moved::default());
    }
    let mut tx = store.write().await?;
    let moves: Vec<Move> = passed(&mut *tx, limit, now)
        .await?
        .into_iter()
        .map(|stored| {
            let error = deadline_passed(&stored);
            Move::failed(stored, error, now)
        })
        .collect();
    let mut deltas = Deltas::default();
    let to_release = moves::write(&mut tx, &moves, now, &mut deltas).await?;
    let slots = deltas.apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Moved {
        jobs: moves.into_iter().map(|moved| moved.after).collect(),
        slots,
        to_release,
    })
}

async fn passed(
    executor: impl SqliteExecutor<'_>,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<Stored>, StoreError> {
    sqlx::query(
        "SELECT * FROM jobs INDEXED BY jobs_deadlines
         WHERE deadline IS NOT NULL AND state IN ('pending', 'queued', 'paused') AND deadline <= ?
         ORDER BY deadline LIMIT +?",
    )
    .bind(now.timestamp_micros())
    .bind(limit)
    .fetch_all(executor)
    .await
    .map_err(failed)?
    .iter()
    .map(stored)
    .collect()
}

fn deadline_passed(stored: &Stored) -> JobError {
    let what = if stored.job.attempt == 0 {
        "begun"
    } else {
        "ended"
    };
    let deadline = stored.job.deadline.map_or_else(String::new, |deadline| {
        deadline.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    });
    JobError::new(
        "DEADLINE_PASSED",
        format!("it had not {what} by {deadline}"),
    )
}
