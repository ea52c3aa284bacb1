//! Dead letters, and REPLAY: those that match a filter are queued again, a batch in a transaction.

use application::ports::{ReplayStep, ReplayStore, StoreError};
use async_trait::async_trait;
use domain::{
    Action, DeadLetterFilter, DeadLetterGroup, EventKind, JobId, JobKind, Replay, ReplayId,
    ReplayState, TenantId, Timestamp,
};
use serde_json::Map;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::batch::{json, text};
use crate::error::failed;
use crate::moves::{self, Move};
use crate::rows::{Reader, Stored, stored};
use crate::slots::Deltas;
use crate::submit::{Backlog, backlogs};
use crate::{SqliteStore, Write};

/// `?1` tenant, `?2` kind, `?3` fingerprint, `?4` error code.
macro_rules! matches {
    () => {
        "tenant_id = ?1 AND fingerprint IS NOT NULL AND (?2 IS NULL OR kind = ?2)
         AND (?3 IS NULL OR fingerprint = ?3)
         AND (?4 IS NULL OR substr(fingerprint, 1, length(?4) + 2) = ?4 || ': ')"
    };
}

const GROUPS: &str = concat!(
    "SELECT g.*, (SELECT id FROM jobs AS j
                  WHERE j.tenant_id = ?1 AND j.fingerprint = g.fingerprint AND j.kind = g.kind
                  ORDER BY j.finished_at DESC, j.id DESC LIMIT 1) AS latest
     FROM (SELECT kind, fingerprint, count(*) AS jobs, min(finished_at) AS first_at, max(finished_at) AS last_at
           FROM jobs WHERE ",
    matches!(),
    " GROUP BY kind, fingerprint ORDER BY jobs DESC, last_at DESC LIMIT +?5) AS g
     ORDER BY g.jobs DESC, g.last_at DESC"
);
const COUNT: &str = concat!("SELECT count(*) AS jobs FROM jobs WHERE ", matches!());
const LETTERS: &str = concat!(
    "SELECT * FROM jobs WHERE ",
    matches!(),
    " AND (?5 IS NULL OR id > ?5) AND finished_at <= ?6 ORDER BY id LIMIT +?7"
);

#[async_trait]
impl ReplayStore for SqliteStore {
    async fn dead_letters(
        &self,
        tenant: TenantId,
        filter: DeadLetterFilter,
        limit: u32,
    ) -> Result<Vec<DeadLetterGroup>, StoreError> {
        sqlx::query(GROUPS)
            .bind(tenant.as_uuid())
            .bind(filter.kind.map(JobKind::as_str))
            .bind(filter.fingerprint)
            .bind(filter.code)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?
            .iter()
            .map(group)
            .collect()
    }

    async fn count_dead_letters(
        &self,
        tenant: TenantId,
        filter: DeadLetterFilter,
    ) -> Result<u32, StoreError> {
        let row = sqlx::query(COUNT)
            .bind(tenant.as_uuid())
            .bind(filter.kind.map(JobKind::as_str))
            .bind(filter.fingerprint)
            .bind(filter.code)
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        Reader(&row).count("jobs")
    }

    async fn create_replay(&self, replay: Replay) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO replays (id, tenant_id, filter, state, matched, replayed, skipped, cursor, held_up,
                                  created_at, updated_at, finished_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(replay.id.as_uuid())
        .bind(replay.tenant.as_uuid())
        .bind(json(&replay.filter)?)
        .bind(replay.state.as_str())
        .bind(replay.matched)
        .bind(replay.replayed)
        .bind(replay.skipped)
        .bind(replay.cursor.map(JobId::as_uuid))
        .bind(replay.held_up.as_deref().map(text))
        .bind(replay.created_at.timestamp_micros())
        .bind(replay.updated_at.timestamp_micros())
        .bind(replay.finished_at.map(|at| at.timestamp_micros()))
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn replay(&self, tenant: TenantId, id: ReplayId) -> Result<Option<Replay>, StoreError> {
        sqlx::query("SELECT * FROM replays WHERE id = ? AND tenant_id = ?")
            .bind(id.as_uuid())
            .bind(tenant.as_uuid())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed)?
            .as_ref()
            .map(replay)
            .transpose()
    }

    async fn replays(&self, tenant: TenantId, limit: u32) -> Result<Vec<Replay>, StoreError> {
        sqlx::query("SELECT * FROM replays WHERE tenant_id = ? ORDER BY id DESC LIMIT +?")
            .bind(tenant.as_uuid())
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?
            .iter()
            .map(replay)
            .collect()
    }

    async fn abort_replay(
        &self,
        tenant: TenantId,
        id: ReplayId,
        now: Timestamp,
    ) -> Result<Option<Replay>, StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "UPDATE replays SET state = 'aborted', updated_at = ?1, finished_at = ?1
             WHERE id = ?2 AND tenant_id = ?3 AND state = 'running'",
        )
        .bind(now.timestamp_micros())
        .bind(id.as_uuid())
        .bind(tenant.as_uuid())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        self.replay(tenant, id).await
    }

    async fn step_replay(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Option<ReplayStep>, StoreError> {
        // Most often none runs, and nobody who writes has to wait for this look.
        let running = sqlx::query("SELECT 1 FROM replays WHERE state = 'running' LIMIT 1")
            .fetch_optional(&self.readers)
            .await
            .map_err(failed)?;
        if running.is_none() {
            return Ok(None);
        }
        step(self, limit, now).await
    }
}

async fn step(
    store: &SqliteStore,
    limit: u32,
    now: Timestamp,
) -> Result<Option<ReplayStep>, StoreError> {
    let mut tx = store.write().await?;
    let next =
        sqlx::query("SELECT * FROM replays WHERE state = 'running' ORDER BY updated_at LIMIT 1")
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed)?;
    let Some(row) = next else {
        return Ok(None);
    };
    let mut replay = replay(&row)?;
    let letters = letters(&mut tx, &replay, limit).await?;
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

async fn letters(tx: &mut Write, replay: &Replay, limit: u32) -> Result<Vec<Stored>, StoreError> {
    let filter = &replay.filter;
    sqlx::query(LETTERS)
        .bind(replay.tenant.as_uuid())
        .bind(filter.kind.map(JobKind::as_str))
        .bind(&filter.fingerprint)
        .bind(&filter.code)
        .bind(replay.cursor.map(JobId::as_uuid))
        .bind(replay.created_at.timestamp_micros())
        .bind(limit)
        .fetch_all(&mut **tx)
        .await
        .map_err(failed)?
        .iter()
        .map(stored)
        .collect()
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
    .bind(replay.finished_at.map(|at| at.timestamp_micros()))
    .bind(replay.id.as_uuid())
    .execute(&mut **tx)
    .await
    .map_err(failed)?;
    Ok(())
}

fn group(row: &SqliteRow) -> Result<DeadLetterGroup, StoreError> {
    let row = Reader(row);
    Ok(DeadLetterGroup {
        kind: row.name("kind")?,
        fingerprint: row.get("fingerprint")?,
        count: row.count("jobs")?,
        first_at: row.time("first_at")?,
        last_at: row.time("last_at")?,
        latest: row.job_id("latest")?,
    })
}

fn replay(row: &SqliteRow) -> Result<Replay, StoreError> {
    let row = Reader(row);
    Ok(Replay {
        id: ReplayId::from_uuid(row.get("id")?),
        tenant: row.tenant_id("tenant_id")?,
        filter: row.json("filter")?,
        state: row.name("state")?,
        matched: row.count("matched")?,
        replayed: row.count("replayed")?,
        skipped: row.count("skipped")?,
        cursor: row.get::<Option<Uuid>>("cursor")?.map(JobId::from_uuid),
        held_up: row.get("held_up")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        finished_at: row.maybe_time("finished_at")?,
    })
}
