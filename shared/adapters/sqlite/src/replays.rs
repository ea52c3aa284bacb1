//! Replays: what people do with them. What their steps do is in `replay_step`.

use application::ports::{ReplayStep, ReplayStore, StoreError};
use async_trait::async_trait;
use domain::{DeadLetterFilter, DeadLetterGroup, JobId, Replay, ReplayId, TenantId, Timestamp};
use sqlx::sqlite::SqliteRow;

use crate::batch::{json, text};
use crate::rows::{Reader, micros};
use crate::statement::{all, one, run};
use crate::{SqliteStore, dead_letters, replay_step};

#[async_trait]
impl ReplayStore for SqliteStore {
    async fn dead_letters(
        &self,
        tenant: TenantId,
        filter: DeadLetterFilter,
        limit: u32,
    ) -> Result<Vec<DeadLetterGroup>, StoreError> {
        dead_letters::groups(self, tenant, &filter, limit).await
    }

    async fn count_dead_letters(
        &self,
        tenant: TenantId,
        filter: DeadLetterFilter,
    ) -> Result<u32, StoreError> {
        dead_letters::count(self, tenant, &filter).await
    }

    async fn create_replay(&self, replay: Replay) -> Result<(), StoreError> {
        let insert = sqlx::query(
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
        .bind(micros(replay.finished_at));
        run(self, insert).await?;
        Ok(())
    }

    async fn replay(&self, tenant: TenantId, id: ReplayId) -> Result<Option<Replay>, StoreError> {
        let query = sqlx::query("SELECT * FROM replays WHERE id = ? AND tenant_id = ?")
            .bind(id.as_uuid())
            .bind(tenant.as_uuid());
        one(&self.readers, query, replay).await
    }

    async fn replays(&self, tenant: TenantId, limit: u32) -> Result<Vec<Replay>, StoreError> {
        let query =
            sqlx::query("SELECT * FROM replays WHERE tenant_id = ? ORDER BY id DESC LIMIT +?")
                .bind(tenant.as_uuid())
                .bind(limit);
        all(&self.readers, query, replay).await
    }

    async fn abort_replay(
        &self,
        tenant: TenantId,
        id: ReplayId,
        now: Timestamp,
    ) -> Result<Option<Replay>, StoreError> {
        let abort = sqlx::query(
            "UPDATE replays SET state = 'aborted', updated_at = ?1, finished_at = ?1
             WHERE id = ?2 AND tenant_id = ?3 AND state = 'running'",
        )
        .bind(now.timestamp_micros())
        .bind(id.as_uuid())
        .bind(tenant.as_uuid());
        run(self, abort).await?;
        self.replay(tenant, id).await
    }

    async fn step_replay(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Option<ReplayStep>, StoreError> {
        replay_step::step(self, limit, now).await
    }
}

/// A whole row of `replays`.
pub fn replay(row: &SqliteRow) -> Result<Replay, StoreError> {
    let row = Reader(row);
    Ok(Replay {
        id: ReplayId::from_uuid(row.get("id")?),
        tenant: row.tenant_id("tenant_id")?,
        filter: row.json("filter")?,
        state: row.name("state")?,
        matched: row.count("matched")?,
        replayed: row.count("replayed")?,
        skipped: row.count("skipped")?,
        cursor: row.maybe_job_id("cursor")?,
        held_up: row.get("held_up")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        finished_at: row.maybe_time("finished_at")?,
    })
}
