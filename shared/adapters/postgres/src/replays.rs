//! Dead letters, and REPLAY: those that match a filter are queued again, a batch in a transaction.

use std::sync::LazyLock;

use application::ports::{ReplayStep, ReplayStore, StoreError};
use async_trait::async_trait;
use deadpool_postgres::Transaction;
use domain::{
    Action, DeadLetterFilter, DeadLetterGroup, EventKind, Job, JobId, JobKind, JobState, Replay,
    ReplayId, ReplayState, TenantId, Timestamp,
};
use serde_json::Map;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::{During, Failure};
use crate::events::Events;
use crate::json::{jsonb, text};
use crate::rows::{self, JOB, StoredJob, int};
use crate::slots::{self, Changes, Keys, Slots};
use crate::submit::{backlog, is_ready, not_draining, room};

/// What [`replay`] reads.
const REPLAY: &str = "id, tenant_id, filter, state, matched, replayed, skipped, cursor, held_up, created_at, \
    updated_at, finished_at";

/// `$1` tenant, `$2` kind, `$3` fingerprint, `$4` error code.
const MATCHES: &str = "j.tenant_id = $1 AND j.fingerprint IS NOT NULL AND ($2::text IS NULL OR j.kind = $2)
    AND ($3::text IS NULL OR j.fingerprint = $3) AND ($4::text IS NULL OR starts_with(j.fingerprint, $4 || ': '))";

static GROUPS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT j.kind, j.fingerprint, count(*) AS jobs, min(j.finished_at) AS first_at, max(j.finished_at) AS last_at,
            (array_agg(j.id ORDER BY j.finished_at DESC, j.id DESC))[1] AS latest
        FROM jobs j WHERE {MATCHES}
        GROUP BY j.kind, j.fingerprint ORDER BY jobs DESC, last_at DESC LIMIT $5"
    )
});
static COUNT: LazyLock<String> =
    LazyLock::new(|| format!("SELECT count(*) AS jobs FROM jobs j WHERE {MATCHES}"));
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

/// Another process steps another one.
static NEXT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {REPLAY} FROM replays WHERE state = 'running' ORDER BY updated_at LIMIT 1
        FOR UPDATE SKIP LOCKED"
    )
});
static LETTERS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {JOB} FROM jobs j WHERE {MATCHES} AND ($5::uuid IS NULL OR j.id > $5) AND j.finished_at <= $6
        ORDER BY j.id LIMIT $7 FOR UPDATE OF j"
    )
});
const RETRY: &str = "UPDATE jobs j SET state = 'queued', failures = 0, fingerprint = NULL, run_after = r.run_after,
        due = r.due, deadline = r.deadline, stop_requested_at = NULL, queued_at = $1, turn = r.turn, finished_at = NULL,
        updated_at = $1, event_seq = j.event_seq + 1
    FROM unnest($2::uuid[], $3::timestamptz[], $4::bool[], $5::timestamptz[], $6::timestamptz[])
        AS r (id, run_after, due, deadline, turn)
    WHERE j.id = r.id";
const STEP: &str =
    "UPDATE replays SET state = $2, replayed = $3, skipped = $4, cursor = $5, held_up = $6,
        updated_at = $7, finished_at = $8
    WHERE id = $1";

#[async_trait]
impl ReplayStore for PostgresStore {
    async fn dead_letters(
        &self,
        tenant: TenantId,
        filter: DeadLetterFilter,
        limit: u32,
    ) -> Result<Vec<DeadLetterGroup>, StoreError> {
        groups(self, tenant, &filter, limit)
            .await
            .during("reading dead letters")
    }

    async fn count_dead_letters(
        &self,
        tenant: TenantId,
        filter: DeadLetterFilter,
    ) -> Result<u32, StoreError> {
        count(self, tenant, &filter)
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
        newest(self, tenant, limit).await.during("listing replays")
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
        step(self, limit, now).await.during("replaying")
    }
}

async fn groups(
    store: &PostgresStore,
    tenant: TenantId,
    filter: &DeadLetterFilter,
    limit: u32,
) -> Result<Vec<DeadLetterGroup>, Failure> {
    let client = store.client().await?;
    let statement = client.prepare_cached(&GROUPS).await?;
    let kind = filter.kind.map(JobKind::as_str);
    let rows = client
        .query(
            &statement,
            &[
                &tenant.as_uuid(),
                &kind,
                &filter.fingerprint,
                &filter.code,
                &i64::from(limit),
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(DeadLetterGroup {
                kind: rows::named(row, "kind")?,
                fingerprint: rows::get(row, "fingerprint")?,
                count: jobs(row)?,
                first_at: rows::get(row, "first_at")?,
                last_at: rows::get(row, "last_at")?,
                latest: rows::job_id(row, "latest")?,
            })
        })
        .collect()
}

fn jobs(row: &Row) -> Result<u32, Failure> {
    let jobs: i64 = rows::get(row, "jobs")?;
    u32::try_from(jobs).map_err(Failure::unexpected)
}

async fn count(
    store: &PostgresStore,
    tenant: TenantId,
    filter: &DeadLetterFilter,
) -> Result<u32, Failure> {
    let client = store.client().await?;
    let statement = client.prepare_cached(&COUNT).await?;
    let kind = filter.kind.map(JobKind::as_str);
    let row = client
        .query_one(
            &statement,
            &[&tenant.as_uuid(), &kind, &filter.fingerprint, &filter.code],
        )
        .await?;
    jobs(&row)
}

async fn insert(store: &PostgresStore, replay: &Replay) -> Result<(), Failure> {
    let client = store.client().await?;
    let statement = client.prepare_cached(&INSERT).await?;
    client
        .execute(
            &statement,
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
    let client = store.client().await?;
    let statement = client.prepare_cached(&BY_ID).await?;
    let row = client
        .query_opt(&statement, &[&tenant.as_uuid(), &id.as_uuid()])
        .await?;
    row.as_ref().map(replay).transpose()
}

async fn newest(
    store: &PostgresStore,
    tenant: TenantId,
    limit: u32,
) -> Result<Vec<Replay>, Failure> {
    let client = store.client().await?;
    let statement = client.prepare_cached(&NEWEST).await?;
    let rows = client
        .query(&statement, &[&tenant.as_uuid(), &i64::from(limit)])
        .await?;
    rows.iter().map(replay).collect()
}

async fn abort(
    store: &PostgresStore,
    tenant: TenantId,
    id: ReplayId,
    now: Timestamp,
) -> Result<Option<Replay>, Failure> {
    let client = store.client().await?;
    let statement = client.prepare_cached(ABORT).await?;
    client
        .execute(&statement, &[&tenant.as_uuid(), &id.as_uuid(), &now])
        .await?;
    drop(client);
    by_id(store, tenant, id).await
}

async fn step(
    store: &PostgresStore,
    limit: u32,
    now: Timestamp,
) -> Result<Option<ReplayStep>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let next = tx.prepare_cached(&NEXT).await?;
    let Some(row) = tx.query_opt(&next, &[]).await? else {
        return Ok(None);
    };
    let mut replay = replay(&row)?;
    let keys = Keys::of_tenants([replay.tenant]);
    slots::lock(&tx, &keys).await?;
    let slots = slots::read(&tx, &keys).await?;
    let letters = letters(&tx, &replay, limit).await?;
    let found = letters.len();
    let (again, held_up) = retry(letters, &slots, now);
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
    let slots = write(&tx, &again, now).await?;
    write_replay(&tx, &replay).await?;
    tx.commit().await?;
    Ok(Some(ReplayStep {
        replay,
        jobs: again.into_iter().map(|one| one.after).collect(),
        slots,
    }))
}

async fn letters(
    tx: &Transaction<'_>,
    replay: &Replay,
    limit: u32,
) -> Result<Vec<StoredJob>, Failure> {
    let statement = tx.prepare_cached(&LETTERS).await?;
    let filter = &replay.filter;
    let rows = tx
        .query(
            &statement,
            &[
                &replay.tenant.as_uuid(),
                &filter.kind.map(JobKind::as_str),
                &filter.fingerprint,
                &filter.code,
                &replay.cursor.map(JobId::as_uuid),
                &replay.created_at,
                &i64::from(limit),
            ],
        )
        .await?;
    rows.iter().map(rows::job).collect()
}

struct Again {
    before: StoredJob,
    after: Job,
}

/// As far as there is room; else why not further.
fn retry(letters: Vec<StoredJob>, slots: &Slots, now: Timestamp) -> (Vec<Again>, Option<String>) {
    let mut again = Vec::with_capacity(letters.len());
    let mut waiting: Option<u32> = None;
    for before in letters {
        let tenant = before.job.tenant;
        let waits = *waiting.get_or_insert_with(|| backlog(tenant, slots));
        let may =
            room(tenant, slots, waits, 1).and_then(|()| not_draining(before.job.queue(), slots));
        if let Err(refused) = may {
            return (again, Some(refused.to_string()));
        }
        // What is a dead letter can be retried.
        if let Ok(after) = before.job.clone().steer(Action::Retry, now) {
            waiting = Some(waits + 1);
            again.push(Again { before, after });
        }
    }
    (again, None)
}

async fn write(
    tx: &Transaction<'_>,
    again: &[Again],
    now: Timestamp,
) -> Result<Vec<domain::SlotSnapshot>, Failure> {
    fn column<'a, T>(again: &'a [Again], pick: impl Fn(&'a Job) -> T) -> Vec<T> {
        again.iter().map(|one| pick(&one.after)).collect()
    }
    if again.is_empty() {
        return Ok(Vec::new());
    }
    let mut events = Events::default();
    let mut changes = Changes::default();
    for Again { before, after } in again {
        let of = (after.tenant, after.id);
        let seq = before.event_seq + 1;
        events.add(of, seq, EventKind::Queued, after.attempt, &Map::new())?;
        let to = (JobState::Queued, is_ready(after, now));
        changes.moved(after.queue(), (before.job.state(), false), to);
    }
    let statement = tx.prepare_cached(RETRY).await?;
    tx.execute(
        &statement,
        &[
            &now,
            &column(again, |job| job.id.as_uuid()),
            &column(again, |job| job.run_after),
            &column(again, |job| job.is_due(now)),
            &column(again, |job| job.deadline),
            &column(again, |job| job.turn),
        ],
    )
    .await?;
    events.insert(tx, now).await?;
    changes.apply(tx, now).await
}

async fn write_replay(tx: &Transaction<'_>, replay: &Replay) -> Result<(), Failure> {
    let statement = tx.prepare_cached(STEP).await?;
    tx.execute(
        &statement,
        &[
            &replay.id.as_uuid(),
            &replay.state.as_str(),
            &int(replay.replayed),
            &int(replay.skipped),
            &replay.cursor.map(JobId::as_uuid),
            &replay.held_up.as_deref().map(text),
            &replay.updated_at,
            &replay.finished_at,
        ],
    )
    .await?;
    Ok(())
}

fn replay(row: &Row) -> Result<Replay, Failure> {
    let Json(filter) = rows::get(row, "filter")?;
    Ok(Replay {
        id: ReplayId::from_uuid(rows::get(row, "id")?),
        tenant: TenantId::from_uuid(rows::get(row, "tenant_id")?),
        filter,
        state: rows::named(row, "state")?,
        matched: rows::count(row, "matched")?,
        replayed: rows::count(row, "replayed")?,
        skipped: rows::count(row, "skipped")?,
        cursor: rows::get::<Option<Uuid>>(row, "cursor")?.map(JobId::from_uuid),
        held_up: rows::get(row, "held_up")?,
        created_at: rows::get(row, "created_at")?,
        updated_at: rows::get(row, "updated_at")?,
        finished_at: rows::get(row, "finished_at")?,
    })
}
