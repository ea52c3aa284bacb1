//! SUBMIT: many clients' submissions in one transaction, each taken whole or refused whole.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use application::ports::{Message, Refused, StoreError, Submission, Submitted};
use domain::{
    EventKind, Job, JobId, JobState, QueueKey, SlotSnapshot, TenantId, Timestamp, relay_window,
};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::batch::{Hex, ids, json};
use crate::error::failed;
use crate::events::{self, EventRow};
use crate::rows::Reader;
use crate::slots::{self, Deltas};

pub async fn submit(
    store: &SqliteStore,
    submissions: Vec<Submission>,
    now: Timestamp,
) -> Result<Submitted, StoreError> {
    let mut tx = store.write().await?;
    let mut backlogs = backlogs(&mut tx, submissions.iter().map(|s| s.tenant)).await?;
    let outcomes: Vec<Result<(), Refused>> = submissions
        .iter()
        .map(|submission| admit(&mut backlogs, submission))
        .collect();
    let jobs: Vec<&Job> = submissions
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.is_ok())
        .flat_map(|(submission, _)| &submission.jobs)
        .collect();
    let queues: BTreeSet<QueueKey> = jobs.iter().map(|job| job.queue()).collect();
    let before = slots::read(&mut tx, queues).await?;
    let publish = publish_at_once(&jobs, &before, now);
    let published = publish.iter().map(|message| message.job).collect();
    insert(&mut tx, &jobs, &published, now).await?;
    let slots = deltas(&jobs, &published).apply(&mut tx).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Submitted {
        outcomes,
        publish,
        slots,
    })
}

/// What a tenant has waiting, and may have.
#[derive(Debug)]
pub struct Backlog {
    active: bool,
    limit: u32,
    waiting: u32,
}

impl Backlog {
    /// Takes `offered` more in, or says why not.
    pub fn take(&mut self, tenant: TenantId, offered: u32) -> Result<(), Refused> {
        if !self.active {
            return Err(Refused::TenantInactive(tenant));
        }
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

    /// Counts one job that waits already as if it did not.
    pub fn without_one(mut self) -> Self {
        self.waiting = self.waiting.saturating_sub(1);
        self
    }
}

pub async fn backlogs(
    connection: &mut SqliteConnection,
    tenants: impl Iterator<Item = TenantId>,
) -> Result<HashMap<TenantId, Backlog>, StoreError> {
    let tenants: BTreeSet<_> = tenants.map(TenantId::as_uuid).collect();
    let rows = sqlx::query(
        "SELECT t.id, t.active, t.max_queued, sum(s.pending + s.queued) AS waiting
         FROM tenants AS t JOIN tenant_slots AS s ON s.tenant_id = t.id
         WHERE t.id IN (SELECT unhex(value) FROM json_each(?))
         GROUP BY t.id",
    )
    .bind(ids(tenants)?)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            let row = Reader(row);
            let backlog = Backlog {
                active: row.get("active")?,
                limit: row.count("max_queued")?,
                waiting: row.count("waiting")?,
            };
            Ok((row.tenant_id("id")?, backlog))
        })
        .collect()
}

fn admit(
    backlogs: &mut HashMap<TenantId, Backlog>,
    submission: &Submission,
) -> Result<(), Refused> {
    let tenant = submission.tenant;
    let offered = u32::try_from(submission.jobs.len()).unwrap_or(u32::MAX);
    backlogs
        .get_mut(&tenant)
        .ok_or(Refused::TenantUnknown(tenant))?
        .take(tenant, offered)
}

/// Whether a queue's next jobs may have their messages right now, and how many: only where nothing older waits for
/// the relay, so that the order within the queue holds.
pub fn room_to_publish(slot: &SlotSnapshot) -> u32 {
    if slot.paused || slot.queued != slot.published {
        return 0;
    }
    relay_window(slot.quota).saturating_sub(slot.published)
}

/// True when the job may run now, as far as it is up to the job.
pub fn is_due(job: &Job, now: Timestamp) -> bool {
    job.state() == JobState::Queued && job.run_after.is_none_or(|at| at <= now)
}

fn publish_at_once(jobs: &[&Job], before: &[SlotSnapshot], now: Timestamp) -> Vec<Message> {
    let mut by_queue: BTreeMap<QueueKey, Vec<Message>> = BTreeMap::new();
    for job in jobs.iter().filter(|job| is_due(job, now)) {
        by_queue.entry(job.queue()).or_default().push(Message {
            queue: job.queue(),
            job: job.id,
            priority: job.priority,
        });
    }
    let mut publish = Vec::new();
    for slot in before {
        let mut messages = by_queue.remove(&slot.queue).unwrap_or_default();
        messages.sort_by_key(|message| (message.priority, message.job));
        messages.truncate(room_to_publish(slot) as usize);
        publish.append(&mut messages);
    }
    publish
}

fn deltas(jobs: &[&Job], published: &HashSet<JobId>) -> Deltas {
    let mut deltas = Deltas::default();
    for job in jobs {
        let delta = deltas.of(job.queue());
        match job.state() {
            JobState::Pending => delta.pending += 1,
            _ => delta.queued += 1,
        }
        delta.published += i64::from(published.contains(&job.id));
    }
    deltas
}

#[derive(Debug, Serialize)]
struct JobRow<'a> {
    id: Hex,
    tenant: Hex,
    kind: &'static str,
    state: &'static str,
    priority: u8,
    title: &'a str,
    tags: String,
    metadata: String,
    spec: String,
    max_attempts: u32,
    max_duration: u32,
    run_after: Option<i64>,
    parent: Option<Hex>,
    event_seq: i64,
    published_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
    queued_at: Option<i64>,
}

impl<'a> JobRow<'a> {
    fn new(job: &'a Job, event_seq: i64, published_at: Option<i64>) -> Result<Self, StoreError> {
        let micros = |time: Option<Timestamp>| time.map(|time| time.timestamp_micros());
        Ok(Self {
            id: Hex(job.id.as_uuid()),
            tenant: Hex(job.tenant.as_uuid()),
            kind: job.kind().as_str(),
            state: job.state().as_str(),
            priority: job.priority.rank(),
            title: &job.title,
            tags: json(&job.tags)?,
            metadata: json(&job.metadata)?,
            spec: json(&job.spec)?,
            max_attempts: job.max_attempts,
            max_duration: job.max_duration_seconds,
            run_after: micros(job.run_after),
            parent: job.parent.map(|id| Hex(id.as_uuid())),
            event_seq,
            published_at,
            created_at: job.created_at.timestamp_micros(),
            updated_at: job.updated_at.timestamp_micros(),
            queued_at: micros(job.queued_at),
        })
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    jobs: &[&Job],
    published: &HashSet<JobId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::with_capacity(jobs.len());
    let mut happened = Vec::with_capacity(jobs.len() * 2);
    for job in jobs {
        happened.push(EventRow::of(job, 1, EventKind::Created, now));
        let started = job.state() == JobState::Queued;
        if started {
            happened.push(EventRow::of(job, 2, EventKind::Queued, now));
        }
        let published_at = published.contains(&job.id).then(|| now.timestamp_micros());
        rows.push(JobRow::new(job, 1 + i64::from(started), published_at)?);
    }
    sqlx::query(
        "INSERT INTO jobs (id, tenant_id, kind, state, priority, title, tags, metadata, spec, max_attempts,
                           max_duration_seconds, run_after, parent_id, event_seq, published_at, created_at,
                           updated_at, queued_at)
         SELECT unhex(value ->> 'id'), unhex(value ->> 'tenant'), value ->> 'kind', value ->> 'state',
                value ->> 'priority', value ->> 'title', value ->> 'tags', value ->> 'metadata', value ->> 'spec',
                value ->> 'max_attempts', value ->> 'max_duration', value ->> 'run_after',
                unhex(value ->> 'parent'), value ->> 'event_seq', value ->> 'published_at', value ->> 'created_at',
                value ->> 'updated_at', value ->> 'queued_at'
         FROM json_each(?)",
    )
    .bind(json(&rows)?)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    events::write(connection, &happened).await
}
