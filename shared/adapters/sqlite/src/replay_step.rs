//! REPLAY: one batch of a running replay's dead letters is queued again, in a transaction with what the replay says of
//! it. What people do with replays is in `replays`.

use application::ports::{HELD_UP, ReplayStep, StoreError};
use domain::{Action, EventKind, JobId, Replay, ReplayState, Timestamp};
use serde_json::Map;

use crate::batch::text;
use crate::error::failed;
use crate::moves::{self, Move};
use crate::replays::replay;
use crate::rows::{Stored, micros};
use crate::slots::Deltas;
use crate::statement::one;
use crate::submit::{Backlog, backlogs};
use crate::{SqliteStore, Write, dead_letters};

const NEXT: &str = "SELECT * FROM replays
    WHERE state = 'running' AND (held_up IS NULL OR updated_at <= ?)
    ORDER BY updated_at LIMIT 1";

pub async fn step(
    store: &SqliteStore,
    limit: u32,
    now: Timestamp,
) -> Result<Option<ReplayStep>, StoreError> {
    let next = || sqlx::query(NEXT).bind((now - HELD_UP).timestamp_micros());
    // Most often none runs, and nobody who writes has to wait for this look.
    let found = next().fetch_optional(&store.readers).await;
    if found.map_err(failed)?.is_none() {
        return Ok(None);
    }
    let mut tx = store.write().await?;
    let next = next();
    let Some(mut replay) = one(&mut *tx, next, replay).await? else {
        return Ok(None);
    };
    let letters = dead_letters::next(&mut tx, &replay, limit).await?;
    let found = letters.len();
    let tenant = replay.tenant;
    let backlog = backlogs(&mut tx, [tenant].into_iter())
        .await?
        .remove(&tenant);
    let (again, held_up) =
        backlog.map_or((Vec::new(), None), |backlog| retry(letters, backlog, now));
    let held = held_up.is_some();
    replay.held_up = held_up;
    replay.replayed += u32::try_from(again.len()).unwrap_or(u32::MAX);
    replay.cursor = again.last().map(|one| one.after.id).or(replay.cursor);
    replay.updated_at = now;
    if !held && found < limit as usize {
        replay.state = ReplayState::Completed;
        replay.skipped = replay.matched.saturating_sub(replay.replayed);
        replay.finished_at = Some(now);
    }
    let mut deltas = Deltas::default();
    moves::write(&mut tx, &again, now, &mut deltas).await?;
    let slots = deltas.apply(&mut tx).await?;
    write_replay(&mut tx, &replay).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Some(ReplayStep {
        replay,
        jobs: again.into_iter().map(|one| one.after).collect(),
        slots,
    }))
}

/// As far as there is room; else why not further.
fn retry(
    letters: Vec<Stored>,
    mut backlog: Backlog,
    now: Timestamp,
) -> (Vec<Move>, Option<String>) {
    let mut again = Vec::with_capacity(letters.len());
    for before in letters {
        if let Err(refused) = backlog.take_again(&before.job) {
            return (again, Some(refused.to_string()));
        }
        // What is a dead letter can be retried.
        if let Ok(after) = before.job.clone().steer(Action::Retry, now) {
            again.push(Move {
                before,
                after,
                event: EventKind::Queued,
                data: Map::new(),
            });
        }
    }
    (again, None)
}

async fn write_replay(tx: &mut Write, replay: &Replay) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE replays SET state = ?, replayed = ?, skipped = ?, cursor = ?, held_up = ?, updated_at = ?,
                finished_at = ?
         WHERE id = ?",
    )
    .bind(replay.state.as_str())
    .bind(replay.replayed)
    .bind(replay.skipped)
    .bind(replay.cursor.map(JobId::as_uuid))
    .bind(replay.held_up.as_deref().map(text))
    .bind(replay.updated_at.timestamp_micros())
    .bind(micros(replay.finished_at))
    .bind(replay.id.as_uuid())
    .execute(&mut **tx)
    .await
    .map_err(failed)?;
    Ok(())
}
