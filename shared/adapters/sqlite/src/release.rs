//! RELEASE: jobs whose prerequisites have ended are queued, or end themselves.
//!
//! It goes by what is in the tables, never by who calls: ends that waiting jobs were not told of yet. So it is safe to
//! run at any time, and what one call leaves the next one finds.

use std::collections::HashMap;

use application::ports::{Moved, StoreError};
use domain::{Action, DependencyRule, EventKind, Job, JobError, JobId, JobState, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::SqliteStore;
use crate::batch::{Hex, ids, json};
use crate::dependents;
use crate::error::{corrupt, failed};
use crate::moves::{self, Move};
use crate::rows::{Reader, Stored, stored};
use crate::slots::Deltas;

pub async fn release(store: &SqliteStore, limit: u32, now: Timestamp) -> Result<Moved, StoreError> {
    // Most often there is nothing to do, and nobody who writes has to wait for this look.
    if !has_work(&store.readers).await? {
        return Ok(Moved::default());
    }
    let mut tx = store.write().await?;
    let mut jobs = Vec::new();
    let mut deltas = Deltas::default();
    let mut left = limit as usize;
    // Each round decides jobs by edges that it deletes, and may end jobs that others wait for.
    while left > 0 {
        let waiting = candidates(&mut tx, left).await?;
        if waiting.is_empty() {
            break;
        }
        left = left.saturating_sub(waiting.len());
        jobs.append(&mut round(&mut tx, waiting, now, &mut deltas).await?);
    }
    let slots = deltas.apply(&mut tx).await?;
    let to_release = has_work(&mut *tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Moved {
        jobs,
        slots,
        to_release,
    })
}

async fn has_work(executor: impl SqliteExecutor<'_>) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM job_dependencies INDEXED BY job_dependencies_ended WHERE met IS NOT NULL)
                OR EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_to_release
                           WHERE state = 'pending' AND unmet = 0 AND depends_on <> '[]') AS has_work",
    )
    .fetch_one(executor)
    .await
    .map_err(failed)?;
    Reader(&row).get("has_work")
}

/// Jobs with something to decide, at most `limit`.
async fn candidates(
    connection: &mut SqliteConnection,
    limit: usize,
) -> Result<Vec<Stored>, StoreError> {
    sqlx::query(
        "SELECT * FROM jobs WHERE id IN (
             SELECT job_id FROM (
                 SELECT * FROM (SELECT DISTINCT job_id FROM job_dependencies INDEXED BY job_dependencies_ended
                                WHERE met IS NOT NULL ORDER BY job_id LIMIT +?1)
                 UNION ALL
                 SELECT * FROM (SELECT id FROM jobs INDEXED BY jobs_to_release
                                WHERE state = 'pending' AND unmet = 0 AND depends_on <> '[]'
                                ORDER BY id LIMIT +?1))
             LIMIT +?1)
         ORDER BY id",
    )
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
    .map_err(failed)?
    .iter()
    .map(stored)
    .collect()
}

/// A prerequisite that has ended.
struct Ended {
    id: JobId,
    state: JobState,
    met: bool,
}

async fn ended(
    connection: &mut SqliteConnection,
    waiting: &[Stored],
) -> Result<HashMap<JobId, Vec<Ended>>, StoreError> {
    let rows = sqlx::query(
        "SELECT d.job_id, d.depends_on, d.met, p.state
         FROM job_dependencies AS d INDEXED BY job_dependencies_ended
         CROSS JOIN jobs AS p ON p.id = d.depends_on
         WHERE d.met IS NOT NULL AND d.job_id IN (SELECT unhex(value) FROM json_each(?))
         ORDER BY d.job_id, d.depends_on",
    )
    .bind(ids(waiting.iter().map(|stored| stored.job.id.as_uuid()))?)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut ended: HashMap<JobId, Vec<Ended>> = HashMap::new();
    for row in &rows {
        let row = Reader(row);
        ended.entry(row.job_id("job_id")?).or_default().push(Ended {
            id: row.job_id("depends_on")?,
            state: row.name("state")?,
            met: row.get("met")?,
        });
    }
    Ok(ended)
}

/// Decides each of these jobs by the ends that it was not told of; returns those that moved, as they are now.
async fn round(
    connection: &mut SqliteConnection,
    waiting: Vec<Stored>,
    now: Timestamp,
    deltas: &mut Deltas,
) -> Result<Vec<Job>, StoreError> {
    let mut ended = ended(connection, &waiting).await?;
    let mut moves = Vec::with_capacity(waiting.len());
    let mut told = Vec::new();
    let mut still_waiting = Vec::new();
    for stored in waiting {
        let ended = ended.remove(&stored.job.id).unwrap_or_default();
        told.extend(ended.iter().map(|end| (end.id, stored.job.id)));
        if stored.job.state() != JobState::Pending {
            // It waits no longer; its edges should be gone.
            continue;
        }
        let met = u32::try_from(ended.len()).unwrap_or(u32::MAX);
        let unmet = stored.unmet.saturating_sub(met);
        if let Some(end) = ended.iter().find(|end| !end.met) {
            moves.push(give_up(stored, end, now)?);
        } else if unmet == 0 {
            let after = stored.job.clone().steer(Action::Start, now);
            let mut after = after.map_err(corrupt)?;
            // Nobody has asked for it anew.
            after.deadline = stored.job.deadline;
            moves.push(Move {
                after,
                before: stored,
                event: EventKind::Queued,
                data: Map::new(),
            });
        } else {
            still_waiting.push(UnmetRow(Hex(stored.job.id.as_uuid()), unmet));
        }
    }
    dependents::forget(connection, told.into_iter()).await?;
    write_unmet(connection, &still_waiting, now).await?;
    moves::write(connection, &moves, now, deltas).await?;
    Ok(moves.into_iter().map(|moved| moved.after).collect())
}

/// By the job's rule: failed, or cancelled.
fn give_up(stored: Stored, end: &Ended, now: Timestamp) -> Result<Move, StoreError> {
    let reason = format!("prerequisite {} is {}", end.id, end.state);
    match stored.job.if_prerequisite_fails {
        DependencyRule::Fail => {
            let error = JobError::new("PREREQUISITE_FAILED", reason);
            Ok(Move::failed(stored, error, now))
        }
        DependencyRule::Skip => {
            let after = stored.job.clone().steer(Action::Cancel, now);
            let mut data = Map::new();
            data.insert("reason".to_owned(), Value::String(reason));
            Ok(Move {
                after: after.map_err(corrupt)?,
                before: stored,
                event: EventKind::Cancelled,
                data,
            })
        }
    }
}

#[derive(Debug, Serialize)]
struct UnmetRow(Hex, u32);

async fn write_unmet(
    connection: &mut SqliteConnection,
    rows: &[UnmetRow],
    now: Timestamp,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE jobs SET unmet = r.unmet, updated_at = ?2
         FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS unmet FROM jsonb_each(?1)) AS r
         WHERE jobs.id = r.id",
    )
    .bind(json(rows)?)
    .bind(now.timestamp_micros())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
