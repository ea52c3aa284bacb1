//! FINISH: settled runs written back, slots given back; hundreds of jobs of many tenants in a handful of statements.
//!
//! The worker's row is not asked: the fence alone says whether a run is still the worker's, and it is raised by
//! whoever takes a job away. Nothing is read first: one statement compares, settles, closes the attempt and writes the
//! event, and says what it settled.

use std::collections::{BTreeMap, BTreeSet};

use application::ports::{Finish, Finished};
use deadpool_postgres::Transaction;
use domain::{
    AgentId, Claim, Condition, EventKind, JobId, JobState, LogChunk, Outcome, QueueKey, Settlement,
    SlotSnapshot, TenantId, Timestamp, WorkerRef, fingerprint,
};

use crate::PostgresStore;
use crate::agents::change_condition;
use crate::error::Failure;
use crate::json::{Jsonb, jsonb_of, jsonb_or_null};
use crate::pipeline::prepare;
use crate::rows::{self, int};
use crate::slots::{self, Changes, Keys};
use crate::{dependents, fences, report};

/// A stop or a pause that was asked for meanwhile wins over being queued again ([`Settlement::unless_asked`]); of what was
/// to be written then `stopped_data` counts. A job has a worker as long as it runs, so nothing is said of its state: a condition
/// on that would let the planner go over all jobs that run, for each of those in question.
const SETTLE: &str = "WITH s AS (
        SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::int8[], $7::int8[], $8::int8[],
            $9::text[], $10::text[], $11::text[], $12::int4[], $13::timestamptz[], $14::jsonb[], $15::jsonb[],
            $16::text[], $17::jsonb[], $18::jsonb[], $19::bool[])
        AS s (id, tenant_id, kind, worker_id, worker_epoch, fence, new_fence, state, outcome, event, failures,
            run_after, result, error, fingerprint, data, stopped_data, finished)
    ), settled AS (
        UPDATE jobs j SET
            state = CASE WHEN s.finished THEN s.state WHEN j.stop_requested_at IS NOT NULL THEN 'stopped'
                WHEN j.pause_requested_at IS NOT NULL THEN 'paused' ELSE s.state END,
            failures = s.failures, result = s.result, error = s.error, fingerprint = s.fingerprint,
            run_after = CASE WHEN s.state = 'queued' AND j.stop_requested_at IS NULL AND j.pause_requested_at IS NULL
                THEN s.run_after ELSE j.run_after END,
            due = s.state <> 'queued' OR j.stop_requested_at IS NOT NULL OR j.pause_requested_at IS NOT NULL
                OR s.run_after IS NULL OR s.run_after <= $1,
            queued_at = CASE WHEN s.state = 'queued' AND j.stop_requested_at IS NULL AND j.pause_requested_at IS NULL
                THEN $1 ELSE j.queued_at END,
            finished_at = CASE WHEN s.finished OR j.stop_requested_at IS NOT NULL THEN $1 END,
            fence = s.new_fence, event_seq = j.event_seq + 1, worker_id = NULL, worker_epoch = NULL, updated_at = $1
        FROM s
        WHERE j.id = s.id AND j.fence = s.fence AND j.worker_id = s.worker_id
            AND j.worker_epoch = s.worker_epoch AND j.tenant_id = s.tenant_id AND j.kind = s.kind
        RETURNING j.id, j.tenant_id, j.kind, j.state, j.due AND j.requires IS NULL AS ready, j.attempt, j.event_seq,
            extract(epoch FROM $1 - j.started_at)::float8 AS seconds, s.outcome, s.error,
            CASE WHEN j.state IN ('stopped', 'paused') THEN j.state ELSE s.event END AS event,
            CASE WHEN j.state = s.state THEN s.data ELSE s.stopped_data END AS data
    ), attempts AS (
        UPDATE job_attempts a SET finished_at = $1, outcome = d.outcome, error = d.error
        FROM settled d
        WHERE a.job_id = d.id AND a.number = d.attempt AND a.finished_at IS NULL
    ), events AS (
        INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt, data)
        SELECT id, event_seq, tenant_id, $1, event, attempt, data FROM settled
    ), given_back AS (
        DELETE FROM agent_slots s USING settled d WHERE s.job_id = d.id RETURNING s.job_id, s.agent_id
    )
    SELECT d.id, d.tenant_id, d.kind, d.state, d.ready, d.attempt, d.seconds, g.agent_id
    FROM settled d LEFT JOIN given_back g ON g.job_id = d.id";

/// The statements of [`settle`], to be prepared before it.
pub(crate) fn settle_statements() -> [&'static str; 3] {
    [SETTLE, dependents::TELL, &slots::APPLY]
}

pub(crate) async fn finish(
    store: &PostgresStore,
    worker: WorkerRef,
    finishes: Vec<Finish>,
    now: Timestamp,
) -> Result<Finished, Failure> {
    let keys = Keys::of(finishes.iter().map(|finish| finish.queue));
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[slots::LOCK, report::ADD_LOGS]).await?;
    prepare(&tx, &settle_statements()).await?;
    slots::lock(&tx, &keys).await?;
    let guarded = fences::hold(&tx, finishes.iter().flat_map(|finish| &finish.guards)).await?;
    let mut asked: Vec<JobId> = finishes.iter().map(|finish| finish.job).collect();
    let mut finishes = finishes;
    let said = last_words(&mut finishes);
    let ended = finishes
        .into_iter()
        .filter(|finish| guarded.all_held(&finish.guards))
        .map(|finish| Ended::of(worker, finish));
    let settled = settle(&tx, newest(ended), now).await?;
    let kept = said.into_iter().filter(|(_, job, chunk)| {
        // Of a run that was settled, and of no other run of its job.
        settled.attempts.get(job) == Some(&chunk.cursor.attempt)
    });
    report::add_logs(&tx, kept.collect()).await?;
    tx.commit().await?;
    // What is named twice was settled once.
    let mut done: BTreeSet<JobId> = settled.jobs.keys().copied().collect();
    asked.retain(|job| !done.remove(job));
    Ok(Finished {
        fenced: asked,
        slots: settled.slots,
        to_release: settled.to_release,
    })
}

/// Takes the last log chunks of runs out of their ends.
fn last_words(finishes: &mut [Finish]) -> Vec<(TenantId, JobId, LogChunk)> {
    let of = |finish: &mut Finish| {
        let (tenant, job) = (finish.queue.tenant, finish.job);
        let logs = std::mem::take(&mut finish.logs).into_iter();
        logs.map(move |chunk| (tenant, job, chunk))
    };
    finishes.iter_mut().flat_map(of).collect()
}

/// A run that is named twice in one call ends once: as it was said first of its newest fence.
fn newest(ended: impl Iterator<Item = Ended>) -> Vec<Ended> {
    let mut newest: BTreeMap<JobId, Ended> = BTreeMap::new();
    for run in ended {
        match newest.get(&run.job) {
            Some(known) if known.fence >= run.fence => {}
            _ => {
                newest.insert(run.job, run);
            }
        }
    }
    newest.into_values().collect()
}

/// A run that is over, of a locked queue.
pub(crate) struct Ended {
    pub queue: QueueKey,
    pub job: JobId,
    /// Who ran it.
    pub claim: Claim,
    /// The run's fence.
    pub fence: i64,
    /// The job's fence from now on.
    pub new_fence: i64,
    pub settlement: Settlement,
    /// What it says of the agent that had it.
    pub agent: Outcome,
}

impl Ended {
    fn of(worker: WorkerRef, finish: Finish) -> Self {
        Self {
            queue: finish.queue,
            job: finish.job,
            claim: Claim {
                worker: worker.id,
                epoch: worker.epoch,
            },
            fence: finish.fence,
            agent: finish.agent,
            new_fence: finish.fence,
            settlement: finish.settlement,
        }
    }

    /// Only failures for good are grouped.
    fn fingerprint(&self) -> Option<String> {
        let failed = matches!(self.settlement.state, JobState::Failed | JobState::Timeout);
        let error = self.settlement.error.as_ref().filter(|_| failed)?;
        Some(crate::json::text(&fingerprint(error)))
    }

    /// The run ended by itself, so its length says something about the next one's.
    const fn is_telling(&self) -> bool {
        use domain::AttemptOutcome::{HandedBack, LeaseLost, Paused};
        !matches!(self.settlement.outcome, HandedBack | LeaseLost | Paused)
    }
}

#[derive(Default)]
pub(crate) struct Settled {
    /// Those that were still at their fence, with their state now.
    pub jobs: BTreeMap<JobId, JobState>,
    /// The numbers of their runs.
    pub attempts: BTreeMap<JobId, u32>,
    pub slots: Vec<SlotSnapshot>,
    /// Others wait for the end of one of them.
    pub to_release: bool,
}

/// Writes jobs, attempts, events, slots and edges. A job comes once.
pub(crate) async fn settle(
    tx: &Transaction<'_>,
    ended: Vec<Ended>,
    now: Timestamp,
) -> Result<Settled, Failure> {
    if ended.is_empty() {
        return Ok(Settled::default());
    }
    let rows = write(tx, &ended, now).await?;
    let telling: BTreeSet<JobId> = ended
        .iter()
        .filter(|run| run.is_telling())
        .map(|run| run.job)
        .collect();
    let mut settled = Settled::default();
    let mut changes = Changes::default();
    for row in &rows {
        let (job, state) = (rows::job_id(row, "id")?, rows::named(row, "state")?);
        let ready = state == JobState::Queued && rows::get(row, "ready")?;
        let queue = rows::queue(row)?;
        changes.moved(queue, (JobState::Running, false), (state, ready));
        if telling.contains(&job) {
            let delta = changes.of(queue);
            delta.runs += 1;
            delta.seconds += rows::get::<f64>(row, "seconds")?.max(0.0);
        }
        settled.jobs.insert(job, state);
        settled.attempts.insert(job, rows::count(row, "attempt")?);
    }
    tell_agents(tx, &ended, &rows, now).await?;
    let states = settled.jobs.iter().map(|(job, state)| (*job, *state));
    let (slots, to_release) =
        futures::try_join!(changes.apply(tx, now), dependents::tell(tx, states))?;
    settled.slots = slots;
    settled.to_release = to_release;
    Ok(settled)
}

/// The slots are given back already; what the runs say of their agents is kept, agent by agent in the order of their ids.
async fn tell_agents(
    tx: &Transaction<'_>,
    ended: &[Ended],
    rows: &[tokio_postgres::Row],
    now: Timestamp,
) -> Result<(), Failure> {
    let mut said: BTreeMap<AgentId, Vec<Outcome>> = BTreeMap::new();
    for row in rows {
        if let Some(agent) = rows::get::<Option<uuid::Uuid>>(row, "agent_id")? {
            let job = rows::job_id(row, "id")?;
            let run = ended.iter().find(|run| run.job == job);
            let outcome = run.map_or(Outcome::Nothing, |run| run.agent);
            said.entry(AgentId::from_uuid(agent))
                .or_default()
                .push(outcome);
        }
    }
    for (agent, outcomes) in said {
        change_condition(tx, agent, |condition| {
            let each = |condition: Condition, outcome| condition.after(outcome, now);
            outcomes.into_iter().fold(condition, each)
        })
        .await?;
    }
    Ok(())
}

fn column<T>(ended: &[Ended], pick: impl Fn(&Ended) -> T) -> Vec<T> {
    ended.iter().map(pick).collect()
}

fn each(
    ended: &[Ended],
    pick: impl Fn(&Settlement) -> Result<Option<Jsonb>, Failure>,
) -> Result<Vec<Option<Jsonb>>, Failure> {
    ended.iter().map(|run| pick(&run.settlement)).collect()
}

async fn write(
    tx: &Transaction<'_>,
    ended: &[Ended],
    now: Timestamp,
) -> Result<Vec<tokio_postgres::Row>, Failure> {
    let results = each(ended, |end| jsonb_or_null(end.result.as_ref()))?;
    let errors = each(ended, |end| jsonb_or_null(end.error.as_ref()))?;
    let data = each(ended, |end| jsonb_of(&end.event_data()))?;
    let stopped_data = each(ended, |end| {
        let stopped = end.clone().unless_asked(true, false);
        match stopped.event {
            EventKind::Stopped => jsonb_of(&stopped.event_data()),
            _ => Ok(None),
        }
    })?;
    let settle = tx.prepare_cached(SETTLE).await?;
    let rows = tx
        .query(
            &settle,
            &[
                &now,
                &column(ended, |run| run.job.as_uuid()),
                &column(ended, |run| run.queue.tenant.as_uuid()),
                &column(ended, |run| run.queue.kind.as_str()),
                &column(ended, |run| run.claim.worker.as_uuid()),
                &column(ended, |run| run.claim.epoch),
                &column(ended, |run| run.fence),
                &column(ended, |run| run.new_fence),
                &column(ended, |run| run.settlement.state.as_str()),
                &column(ended, |run| run.settlement.outcome.as_str()),
                &column(ended, |run| run.settlement.event.as_str()),
                &column(ended, |run| int(run.settlement.failures)),
                &column(ended, |run| run.settlement.run_after),
                &results,
                &errors,
                &column(ended, Ended::fingerprint),
                &data,
                &stopped_data,
                &column(ended, |run| {
                    !matches!(run.settlement.state, JobState::Queued | JobState::Paused)
                }),
            ],
        )
        .await?;
    Ok(rows)
}
