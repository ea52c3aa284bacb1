//! Jobs that move without a run of theirs that begins or ends: steered by a person, released, expired.

use application::ports::StoreError;
use domain::{EventKind, Job, JobError, JobId, JobState, Status, Timestamp, fingerprint};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::SqliteConnection;

use crate::batch::{Hex, json};
use crate::dependents;
use crate::error::failed;
use crate::events::{self, EventRow};
use crate::rows::Stored;
use crate::slots::Deltas;

/// A job as it was and as it is from now on.
#[derive(Debug)]
pub struct Move {
    pub before: Stored,
    pub after: Job,
    pub event: EventKind,
    /// What the event says.
    pub data: Map<String, Value>,
}

impl Move {
    /// The job fails without having been run (again).
    pub fn failed(before: Stored, error: JobError, now: Timestamp) -> Self {
        let mut data = Map::new();
        data.insert("error".to_owned(), serde_json::json!(error));
        let after = Job {
            status: Status::Failed,
            error: Some(error),
            finished_at: Some(now),
            updated_at: now,
            ..before.job.clone()
        };
        Self {
            before,
            after,
            event: EventKind::Failed,
            data,
        }
    }

    /// What the move adds to the counts of its queue.
    fn count(&self, now: Timestamp, deltas: &mut Deltas) {
        let (before, after) = (&self.before.job, &self.after);
        let moved = |state: JobState| {
            i64::from(after.state() == state) - i64::from(before.state() == state)
        };
        let due = after.is_due(now) && after.requires.is_empty();
        let delta = deltas.of(after.queue());
        delta.pending += moved(JobState::Pending);
        delta.queued += moved(JobState::Queued);
        delta.due += i64::from(due) - i64::from(self.before.counts_as_due());
    }

    /// Edges of a job that waits for its prerequisites no longer.
    fn edges(&self) -> impl Iterator<Item = (JobId, JobId)> {
        let waited =
            self.before.job.state() == JobState::Pending && self.after.state() != JobState::Pending;
        let prerequisites = self.after.depends_on.iter().filter(move |_| waited);
        prerequisites.map(|prerequisite| (*prerequisite, self.after.id))
    }

    fn ended(&self) -> Option<(JobId, JobState)> {
        let state = self.after.state();
        let ended = state.is_finished() && !self.before.job.state().is_finished();
        ended.then_some((self.after.id, state))
    }
}

/// As an array, in the order in which the statement takes it apart.
#[derive(Debug, Serialize)]
struct MoveRow(
    Hex,
    &'static str,
    u32,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    bool,
    Option<i64>,
    Option<String>,
    Option<String>,
    i64,
    Option<i64>,
    Option<i64>,
);

impl MoveRow {
    fn new(moved: &Move, now: Timestamp) -> Result<Self, StoreError> {
        let micros = |time: Option<Timestamp>| time.map(|time| time.timestamp_micros());
        let job = &moved.after;
        let failed = matches!(job.state(), JobState::Failed | JobState::Timeout);
        let error = job.error.as_ref();
        Ok(Self(
            Hex(job.id.as_uuid()),
            job.state().as_str(),
            job.failures,
            micros(job.run_after),
            micros(job.stop_requested_at),
            micros(job.queued_at),
            micros(job.turn),
            job.state() != JobState::Queued || job.is_due(now),
            micros(job.finished_at),
            error.map(json).transpose()?,
            error.filter(|_| failed).map(fingerprint),
            moved.before.event_seq + 1,
            micros(job.deadline),
            micros(job.pause_requested_at),
        ))
    }
}

/// Writes jobs and events, counts, and tells those who wait for their ends. True when there are such.
pub async fn write(
    connection: &mut SqliteConnection,
    moves: &[Move],
    now: Timestamp,
    deltas: &mut Deltas,
) -> Result<bool, StoreError> {
    if moves.is_empty() {
        return Ok(false);
    }
    let mut rows = Vec::with_capacity(moves.len());
    let mut happened = Vec::with_capacity(moves.len());
    for moved in moves {
        moved.count(now, deltas);
        rows.push(MoveRow::new(moved, now)?);
        let seq = moved.before.event_seq + 1;
        happened.push(EventRow::of(&moved.after, seq, moved.event, now).with(&moved.data)?);
    }
    sqlx::query(
        "UPDATE jobs
         SET state = r.state, failures = r.failures, run_after = r.run_after, stop_requested_at = r.stop_requested_at,
             pause_requested_at = r.pause_requested_at,
             queued_at = r.queued_at, turn = r.turn, due = r.due, finished_at = r.finished_at, error = r.error,
             fingerprint = r.fingerprint, event_seq = r.event_seq, deadline = r.deadline, unmet = 0, updated_at = ?2
         FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS state, value ->> 2 AS failures,
                      value ->> 3 AS run_after, value ->> 4 AS stop_requested_at, value ->> 5 AS queued_at,
                      value ->> 6 AS turn, value ->> 7 AS due, value ->> 8 AS finished_at, value ->> 9 AS error,
                      value ->> 10 AS fingerprint, value ->> 11 AS event_seq,
                      value ->> 12 AS deadline, value ->> 13 AS pause_requested_at
               FROM jsonb_each(?1)) AS r
         WHERE jobs.id = r.id",
    )
    .bind(json(&rows)?)
    .bind(now.timestamp_micros())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    events::write(connection, &happened).await?;
    dependents::forget(connection, moves.iter().flat_map(Move::edges)).await?;
    dependents::tell(connection, moves.iter().filter_map(Move::ended)).await
}
