//! REPLAY: one batch of a running replay's dead letters is queued again, in a transaction with what the replay says of
//! it. What people do with replays is in `replays`.

use std::sync::LazyLock;

use application::ports::{HELD_UP, ReplayStep};
use deadpool_postgres::Transaction;
use domain::{
    Action, EventKind, Job, JobId, JobState, Replay, ReplayState, SlotSnapshot, Timestamp,
};
use serde_json::Map;

use crate::error::Failure;
use crate::events::Events;
use crate::json::text;
use crate::replays::{REPLAY, replay};
use crate::rows::{StoredJob, int};
use crate::slots::{self, Changes, Keys, Slots};
use crate::submit::{backlog, is_ready, not_draining, room};
use crate::{PostgresStore, dead_letters};

/// Another process steps another one.
static NEXT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {REPLAY} FROM replays
        WHERE state = 'running' AND (held_up IS NULL OR updated_at <= $1)
        ORDER BY updated_at LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
});
const RETRY: &str = "UPDATE jobs j SET state = 'queued', failures = 0, fingerprint = NULL, run_after = r.run_after,
        due = r.due, deadline = r.deadline, stop_requested_at = NULL, pause_requested_at = NULL, queued_at = $1, turn = r.turn, finished_at = NULL,
        updated_at = $1, event_seq = j.event_seq + 1
    FROM unnest($2::uuid[], $3::timestamptz[], $4::bool[], $5::timestamptz[], $6::timestamptz[])
        AS r (id, run_after, due, deadline, turn)
    WHERE j.id = r.id";
const STEP: &str =
    "UPDATE replays SET state = $2, replayed = $3, skipped = $4, cursor = $5, held_up = $6,
        updated_at = $7, finished_at = $8
    WHERE id = $1";

pub(crate) async fn step(
    store: &PostgresStore,
    limit: u32,
    now: Timestamp,
) -> Result<Option<ReplayStep>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let next = tx.prepare_cached(&NEXT).await?;
    let Some(row) = tx.query_opt(&next, &[&(now - HELD_UP)]).await? else {
        return Ok(None);
    };
    let mut replay = replay(&row)?;
    let keys = Keys::of_tenants([replay.tenant]);
    slots::lock(&tx, &keys).await?;
    let slots = slots::read(&tx, &keys).await?;
    let letters = dead_letters::next(&tx, &replay, limit).await?;
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
) -> Result<Vec<SlotSnapshot>, Failure> {
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
