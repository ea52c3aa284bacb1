//! Replays: what people do with them. What their steps do is in `replay_step`.

use std::sync::LazyLock;

use application::ports::{ReplayStep, ReplayStore, StoreError};
use async_trait::async_trait;
use domain::{DeadLetterFilter, DeadLetterGroup, JobId, Replay, ReplayId, TenantId, Timestamp};
use tokio_postgres::Row;

use crate::error::{During, Failure};
use crate::json::{jsonb, text};
use crate::rows::{self, int};
use crate::{PostgresStore, dead_letters, replay_step, statement};

/// What [`replay`] reads.
pub(crate) const REPLAY: &str = "id, tenant_id, filter, state, matched, replayed, skipped, cursor, held_up, created_at, \
    updated_at, finished_at";

static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO replays ({REPLAY}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    )
});
static BY_ID: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {REPLAY} FROM replays WHERE tenant_id = $1 AND id = $2"));
static NEWEST: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {REPLAY} FROM replays WHERE tenant_id = $1 ORDER BY id DESC LIMIT $2")
});
const ABORT: &str = "UPDATE replays SET state = 'aborted', updated_at = $3, finished_at = $3
    WHERE tenant_id = $1 AND id = $2 AND state = 'running'";

#[async_trait]
impl ReplayStore for PostgresStore {
    async fn dead_letters(
        &self,
        tenant: TenantId,
        filter: DeadLetterFilter,
        limit: u32,
    ) -> Result<Vec<DeadLetterGroup>, StoreError> {
        dead_letters::groups(self, tenant, &filter, limit)
            .await
            .during("reading dead letters")
    }

    async fn count_dead_letters(
        &self,
        tenant: TenantId,
        filter: DeadLetterFilter,
    ) -> Result<u32, StoreError> {
        dead_letters::count(self, tenant, &filter)
            .await
            .during("counting dead letters")
    }

    async fn create_replay(&self, replay: Replay) -> Result<(), StoreError> {
        insert(self, &replay).await.during("creating a replay")
    }

    async fn replay(&self, tenant: TenantId, id: ReplayId) -> Result<Option<Replay>, StoreError> {
        by_id(self, tenant, id).await.during("reading a replay")
    }

    async fn replays(&self, tenant: TenantId, limit: u32) -> Result<Vec<Replay>, StoreError> {
        statement::all(
            self,
            &NEWEST,
            &[&tenant.as_uuid(), &i64::from(limit)],
            replay,
        )
        .await
        .during("listing replays")
    }

    async fn abort_replay(
        &self,
        tenant: TenantId,
        id: ReplayId,
        now: Timestamp,
    ) -> Result<Option<Replay>, StoreError> {
        abort(self, tenant, id, now)
            .await
            .during("aborting a replay")
    }

    async fn step_replay(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Option<ReplayStep>, StoreError> {
        replay_step::step(self, limit, now)
            .await
            .during("replaying")
    }
}

async fn insert(store: &PostgresStore, replay: &Replay) -> Result<(), Failure> {
    statement::run(
        store,
        &INSERT,
        &[
            &replay.id.as_uuid(),
            &replay.tenant.as_uuid(),
            &jsonb(&replay.filter)?,
            &replay.state.as_str(),
            &int(replay.matched),
            &int(replay.replayed),
            &int(replay.skipped),
            &replay.cursor.map(JobId::as_uuid),
            &replay.held_up.as_deref().map(text),
            &replay.created_at,
            &replay.updated_at,
            &replay.finished_at,
        ],
    )
    .await?;
    Ok(())
}

async fn by_id(
    store: &PostgresStore,
    tenant: TenantId,
    id: ReplayId,
) -> Result<Option<Replay>, Failure> {
    statement::one(store, &BY_ID, &[&tenant.as_uuid(), &id.as_uuid()], replay).await
}

async fn abort(
    store: &PostgresStore,
    tenant: TenantId,
    id: ReplayId,
    now: Timestamp,
) -> Result<Option<Replay>, Failure> {
    statement::run(store, ABORT, &[&tenant.as_uuid(), &id.as_uuid(), &now]).await?;
    by_id(store, tenant, id).await
}

pub(crate) fn replay(row: &Row) -> Result<Replay, Failure> {
    Ok(Replay {
        id: ReplayId::from_uuid(rows::get(row, "id")?),
        tenant: rows::tenant_id(row, "tenant_id")?,
        filter: rows::json(row, "filter")?,
        state: rows::named(row, "state")?,
        matched: rows::count(row, "matched")?,
        replayed: rows::count(row, "replayed")?,
        skipped: rows::count(row, "skipped")?,
        cursor: rows::job_id_or_null(row, "cursor")?,
        held_up: rows::get(row, "held_up")?,
        created_at: rows::get(row, "created_at")?,
        updated_at: rows::get(row, "updated_at")?,
        finished_at: rows::get(row, "finished_at")?,
    })
}
