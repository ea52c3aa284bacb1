//! SUBMIT: many clients' submissions in one transaction, each taken whole or refused whole.

use std::collections::{BTreeSet, HashMap};

use application::ports::{Refused, StoreError, Submission, Submitted, Wakeups};
use domain::{EventKind, Job, JobId, JobKind, JobState, SlotSnapshot, TenantId, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::batch::{Hex, ids, json};
use crate::error::failed;
use crate::prerequisites::{self, Known};
use crate::rows::Reader;
use crate::slots::{Delta, Deltas, snapshot};
use crate::{SqliteStore, Write, budgets};

pub async fn submit(
    store: &SqliteStore,
    submissions: Vec<Submission>,
    now: Timestamp,
) -> Result<Submitted, StoreError> {
    let mut tx = store.write().await?;
    let submitted = submit_in(&mut tx, &submissions, now).await?;
    tx.commit().await.map_err(failed)?;
    Ok(submitted)
}

/// A submit as a part of `tx`. What is refused has changed nothing.
pub async fn submit_in(
    tx: &mut Write,
    submissions: &[Submission],
    now: Timestamp,
) -> Result<Submitted, StoreError> {
    let mut backlogs = backlogs(tx, submissions.iter().map(|s| s.tenant)).await?;
    let known = Known::load(tx, submissions).await?;
    let outcomes: Vec<Result<(), Refused>> = submissions
        .iter()
        .map(|submission| admit(&mut backlogs, &known, submission))
        .collect();
    let jobs: Vec<&Job> = submissions
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.is_ok())
        .flat_map(|(submission, _)| &submission.jobs)
        .collect();
    let to_release = insert(tx, &jobs, &known, now).await?;
    let mut deltas = deltas(&jobs, now);
    let slots = backlogs.values().flat_map(|backlog| &backlog.slots);
    let mut publish: Vec<Wakeups> = slots
        .filter_map(|slot| give_wakeups(slot, deltas.of(slot.queue), now))
        .collect();
    publish.sort_unstable_by_key(|wakeups| wakeups.queue);
    let slots = deltas.apply(tx).await?;
    Ok(Submitted {
        outcomes,
        publish,
        slots,
        to_release,
    })
}

/// What a tenant has waiting, and may have.
#[derive(Debug)]
pub struct Backlog {
    active: bool,
    /// Until when its month is used up.
    budget_until: Option<Timestamp>,
    limit: u32,
    waiting: u32,
    /// Kinds of which it takes no new jobs.
    draining: Vec<JobKind>,
    /// Its queues, as they are before.
    pub slots: Vec<SlotSnapshot>,
}

impl Backlog {
    fn is_open(&self, tenant: TenantId, kinds: &BTreeSet<JobKind>) -> Result<(), Refused> {
        if !self.active {
            return Err(Refused::TenantInactive(tenant));
        }
        let Some(kind) = self.draining.iter().find(|kind| kinds.contains(kind)) else {
            return Ok(());
        };
        let is_it = |slot: &&SlotSnapshot| slot.queue.kind == *kind;
        Err(Refused::QueueDraining {
            kind: *kind,
            paused: self
                .slots
                .iter()
                .find(is_it)
                .is_some_and(|slot| slot.paused),
        })
    }

    fn take(&mut self, offered: u32) -> Result<(), Refused> {
        let after = self.waiting.saturating_add(offered);
        if after > self.limit {
            return Err(Refused::BacklogFull {
                limit: self.limit,
                waiting: self.waiting,
                offered,
            });
        }
        self.waiting = after;
        Ok(())
    }

    /// Whether its tenant may go on with a session in this month.
    pub fn month_lasts(&self, job: &Job, now: Timestamp) -> Result<(), Refused> {
        let is_session = job.kind() == JobKind::Session;
        match self.budget_until.filter(|until| *until > now && is_session) {
            Some(until) => Err(Refused::month_used_up(until, now)),
            None => Ok(()),
        }
    }

    /// Whether a job that was there before may be queued (again): it needs room like a new one, but for one that
    /// waits already.
    pub fn take_again(&mut self, job: &Job) -> Result<(), Refused> {
        self.is_open(job.tenant, &BTreeSet::from([job.kind()]))?;
        if matches!(job.state(), JobState::Pending | JobState::Queued) {
            self.waiting = self.waiting.saturating_sub(1);
        }
        self.take(1)
    }
}

pub async fn backlogs(
    connection: &mut SqliteConnection,
    tenants: impl Iterator<Item = TenantId>,
) -> Result<HashMap<TenantId, Backlog>, StoreError> {
    let tenants: BTreeSet<_> = tenants.map(TenantId::as_uuid).collect();
    let rows = sqlx::query(
        "SELECT s.*, t.weight, t.active, t.budget_until, t.max_queued
         FROM json_each(?) AS named
         CROSS JOIN tenants AS t ON t.id = unhex(named.value)
         CROSS JOIN tenant_slots AS s ON s.tenant_id = t.id",
    )
    .bind(ids(tenants)?)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut backlogs: HashMap<TenantId, Backlog> = HashMap::new();
    for row in &rows {
        let slot = snapshot(row)?;
        let row = Reader(row);
        let (active, limit) = (row.get("active")?, row.count("max_queued")?);
        let budget_until = row.maybe_time("budget_until")?;
        let backlog = backlogs
            .entry(slot.queue.tenant)
            .or_insert_with(|| Backlog {
                active,
                budget_until,
                limit,
                waiting: 0,
                draining: Vec::new(),
                slots: Vec::with_capacity(JobKind::ALL.len()),
            });
        let waiting = row.count("pending")?.saturating_add(slot.queued);
        backlog.waiting = backlog.waiting.saturating_add(waiting);
        if row.get("draining")? {
            backlog.draining.push(slot.queue.kind);
        }
        backlog.slots.push(slot);
    }
    Ok(backlogs)
}

fn admit(
    backlogs: &mut HashMap<TenantId, Backlog>,
    known: &Known,
    submission: &Submission,
) -> Result<(), Refused> {
    let tenant = submission.tenant;
    let backlog = backlogs
        .get_mut(&tenant)
        .ok_or(Refused::TenantUnknown(tenant))?;
    let kinds = submission.jobs.iter().map(Job::kind).collect();
    backlog.is_open(tenant, &kinds)?;
    known.check(submission)?;
    backlog.take(u32::try_from(submission.jobs.len()).unwrap_or(u32::MAX))
}

/// Counts wake-ups for a queue that got due jobs, as far as there is room for them; they are to be sent.
pub fn give_wakeups(slot: &SlotSnapshot, delta: &mut Delta, now: Timestamp) -> Option<Wakeups> {
    if delta.due <= 0 {
        return None;
    }
    let due = i64::from(slot.due) + delta.due;
    let after = SlotSnapshot {
        due: u32::try_from(due).unwrap_or(u32::MAX),
        ..*slot
    };
    let n = after.to_relay();
    if n == 0 {
        return None;
    }
    delta.published += i64::from(n);
    delta.touched = Some(now);
    let queue = slot.queue;
    Some(Wakeups { queue, n })
}

fn deltas(jobs: &[&Job], now: Timestamp) -> Deltas {
    let mut deltas = Deltas::default();
    for job in jobs {
        let delta = deltas.of(job.queue());
        match job.state() {
            JobState::Pending => delta.pending += 1,
            _ => delta.queued += 1,
        }
        delta.due += i64::from(job.is_due(now) && job.requires.is_empty());
    }
    deltas
}

/// As an array, in the order in which the statement takes it apart.
#[derive(Debug, Serialize)]
struct JobRow<'a>(
    Hex,
    Hex,
    &'static str,
    &'static str,
    u8,
    &'a str,
    String,
    String,
    String,
    u32,
    u32,
    Option<i64>,
    Option<Hex>,
    i64,
    i64,
    i64,
    Option<i64>,
    Option<i64>,
    bool,
    Option<i64>,
    Option<String>,
    String,
    &'static str,
    usize,
    String,
);

impl<'a> JobRow<'a> {
    fn new(
        job: &'a Job,
        unmet: usize,
        ancestors: &[JobId],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let micros = |time: Option<Timestamp>| time.map(|time| time.timestamp_micros());
        let queued = job.state() == JobState::Queued;
        let requires = (!job.requires.is_empty()).then_some(&job.requires);
        Ok(Self(
            Hex(job.id.as_uuid()),
            Hex(job.tenant.as_uuid()),
            job.kind().as_str(),
            job.state().as_str(),
            job.priority.rank(),
            &job.title,
            json(&job.tags)?,
            json(&job.metadata)?,
            json(&job.spec)?,
            job.max_attempts,
            job.max_duration_seconds,
            micros(job.run_after),
            job.parent.map(|id| Hex(id.as_uuid())),
            1 + i64::from(queued),
            job.created_at.timestamp_micros(),
            job.updated_at.timestamp_micros(),
            micros(job.queued_at),
            micros(job.turn),
            !queued || job.is_due(now),
            micros(job.deadline),
            requires.map(json).transpose()?,
            json(&job.depends_on)?,
            job.if_prerequisite_fails.as_str(),
            unmet,
            json(ancestors)?,
        ))
    }
}

const INSERT_JOBS: &str = "
    INSERT INTO jobs (id, tenant_id, kind, state, priority, title, tags, metadata, spec, max_attempts,
                      max_duration_seconds, run_after, parent_id, event_seq, created_at, updated_at, queued_at,
                      turn, due, deadline, requires, depends_on, if_prerequisite_fails, unmet, ancestors)
    SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
           value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, unhex(value ->> 12), value ->> 13,
           value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19, value ->> 20,
           value ->> 21, value ->> 22, value ->> 23, value ->> 24
    FROM jsonb_each(?)";

/// `created` of every job and `queued` of those that are.
const INSERT_EVENTS: &str = "
    INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt)
    SELECT unhex(j.value ->> 0), e.seq, unhex(j.value ->> 1), ?2, e.kind, 0
    FROM jsonb_each(?1) AS j CROSS JOIN (SELECT 1 AS seq, ?3 AS kind UNION ALL SELECT 2, ?4) AS e
    WHERE e.seq <= j.value ->> 2";

/// True when one of the jobs waits for nothing any more, or in vain.
async fn insert(
    connection: &mut SqliteConnection,
    jobs: &[&Job],
    known: &Known,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if jobs.is_empty() {
        return Ok(false);
    }
    let mut rows = Vec::with_capacity(jobs.len());
    let mut happened = Vec::with_capacity(jobs.len());
    let mut edges = Vec::new();
    let mut to_release = false;
    for job in jobs {
        let own = known.edges(job);
        let waits = !job.depends_on.is_empty();
        to_release |= waits && (own.is_empty() || own.iter().any(|edge| edge.met.is_some()));
        let row = JobRow::new(job, own.len(), &known.ancestors(job), now)?;
        happened.push((row.0, row.1, row.13));
        rows.push(row);
        edges.extend(own);
    }
    sqlx::query(INSERT_JOBS)
        .bind(json(&rows)?)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query(INSERT_EVENTS)
        .bind(json(&happened)?)
        .bind(now.timestamp_micros())
        .bind(EventKind::Created.as_str())
        .bind(EventKind::Queued.as_str())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    budgets::open(&mut *connection, jobs).await?;
    prerequisites::insert(connection, &edges).await?;
    Ok(to_release)
}
