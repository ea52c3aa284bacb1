//! What is written when runs end, by their worker's word or for a worker that is gone.

use application::ports::StoreError;
use domain::{
    AgentId, AttemptOutcome, JobId, JobState, Outcome, QueueKey, Settlement, Timestamp, fingerprint,
};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::agents::change_condition;
use crate::batch::{Hex, ids, json};
use crate::dependents;
use crate::error::failed;
use crate::events::{self, EventRow};
use crate::rows::Reader;
use crate::slots::Deltas;

/// A run that ends, and how.
pub struct Run {
    pub settlement: Settlement,
    pub job: JobId,
    pub queue: QueueKey,
    pub attempt: u32,
    pub event_seq: i64,
    pub started_at: Option<Timestamp>,
    pub asks_for_labels: bool,
    /// What it says of the agent that had it.
    pub agent: Outcome,
    /// The job's fence from now on.
    pub fence: i64,
}

impl Run {
    /// Whether the job may be claimed at once.
    fn is_due(&self, now: Timestamp) -> bool {
        self.settlement.run_after.is_none_or(|at| at <= now)
    }

    fn count(&self, now: Timestamp, deltas: &mut Deltas) {
        let delta = deltas.of(self.queue);
        delta.running -= 1;
        if self.settlement.state == JobState::Queued {
            delta.queued += 1;
            delta.due += i64::from(self.is_due(now) && !self.asks_for_labels);
        }
        let broken_off = matches!(
            self.settlement.outcome,
            AttemptOutcome::HandedBack | AttemptOutcome::LeaseLost | AttemptOutcome::Paused
        );
        if let Some(started_at) = self.started_at.filter(|_| !broken_off) {
            delta.served.0 += 1;
            delta.served.1 += (now - started_at).as_seconds_f64();
        }
    }
}

/// As an array, in the order in which the statements take it apart: job, attempt, state, fence, failures, `run_after`,
/// due, result, error, fingerprint, outcome.
#[derive(Debug, Serialize)]
struct RunRow(
    Hex,
    u32,
    &'static str,
    i64,
    u32,
    Option<i64>,
    bool,
    Option<String>,
    Option<String>,
    Option<String>,
    &'static str,
);

impl RunRow {
    fn new(run: &Run, now: Timestamp) -> Result<Self, StoreError> {
        let settlement = &run.settlement;
        let failed = matches!(settlement.state, JobState::Failed | JobState::Timeout);
        let error = settlement.error.as_ref();
        Ok(Self(
            Hex(run.job.as_uuid()),
            run.attempt,
            settlement.state.as_str(),
            run.fence,
            settlement.failures,
            settlement.run_after.map(|at| at.timestamp_micros()),
            run.is_due(now),
            settlement.result.as_ref().map(json).transpose()?,
            error.map(json).transpose()?,
            error.filter(|_| failed).map(fingerprint),
            settlement.outcome.as_str(),
        ))
    }
}

/// Writes job, attempt and event of each run, and what the queues get back. True when others wait for one of the jobs,
/// which has ended for good.
pub async fn end(
    connection: &mut SqliteConnection,
    runs: &[Run],
    now: Timestamp,
    deltas: &mut Deltas,
) -> Result<bool, StoreError> {
    if runs.is_empty() {
        return Ok(false);
    }
    let mut rows = Vec::with_capacity(runs.len());
    let mut happened = Vec::with_capacity(runs.len());
    for run in runs {
        run.count(now, deltas);
        rows.push(RunRow::new(run, now)?);
        let event = EventRow::new(
            run.queue.tenant,
            run.job,
            run.attempt,
            run.event_seq + 1,
            run.settlement.event,
            now,
        );
        happened.push(event.with(&run.settlement.event_data())?);
    }
    let rows = json(&rows)?;
    for statement in [WRITE_JOBS, WRITE_ATTEMPTS] {
        sqlx::query(statement)
            .bind(&rows)
            .bind(now.timestamp_micros())
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    events::write(connection, &happened).await?;
    give_agents_back(connection, runs, now).await?;
    let ended = runs.iter().map(|run| (run.job, run.settlement.state));
    dependents::tell(connection, ended.filter(|(_, state)| state.is_finished())).await
}

/// Gives back the agents' slots, and keeps what the runs say of their agents.
async fn give_agents_back(
    connection: &mut SqliteConnection,
    runs: &[Run],
    now: Timestamp,
) -> Result<(), StoreError> {
    let given_back = sqlx::query(
        "DELETE FROM agent_slots WHERE job_id IN (SELECT unhex(value) FROM json_each(?)) RETURNING job_id, agent_id",
    )
    .bind(ids(runs.iter().map(|run| run.job.as_uuid()))?)
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    for row in &given_back {
        let row = Reader(row);
        let (job, agent) = (
            row.job_id("job_id")?,
            AgentId::from_uuid(row.get("agent_id")?),
        );
        let run = runs.iter().find(|run| run.job == job);
        let outcome = run.map_or(Outcome::Nothing, |run| run.agent);
        change_condition(connection, agent, |condition| condition.after(outcome, now)).await?;
    }
    Ok(())
}

const WRITE_JOBS: &str = "
    UPDATE jobs
    SET state = r.state, fence = r.fence, failures = r.failures, event_seq = jobs.event_seq + 1,
        run_after = iif(r.state = 'queued', r.run_after, jobs.run_after), due = r.due,
        queued_at = iif(r.state = 'queued', ?2, jobs.queued_at),
        finished_at = iif(r.state IN ('queued', 'paused'), NULL, ?2),
        result = r.result, error = r.error, fingerprint = r.fingerprint, worker_id = NULL, worker_epoch = NULL,
        updated_at = ?2
    FROM (SELECT unhex(value ->> 0) AS id, value ->> 2 AS state, value ->> 3 AS fence, value ->> 4 AS failures,
                 value ->> 5 AS run_after, value ->> 6 AS due, value ->> 7 AS result, value ->> 8 AS error,
                 value ->> 9 AS fingerprint
          FROM jsonb_each(?1)) AS r
    WHERE jobs.id = r.id";

const WRITE_ATTEMPTS: &str = "
    UPDATE job_attempts
    SET finished_at = ?2, outcome = r.outcome, error = r.error
    FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS attempt, value ->> 10 AS outcome, value ->> 8 AS error
          FROM jsonb_each(?1)) AS r
    WHERE job_attempts.job_id = r.id AND job_attempts.number = r.attempt";
