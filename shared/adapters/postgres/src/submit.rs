//! SUBMIT: many clients' submissions in one transaction and a handful of statements.

use std::collections::BTreeMap;

use application::ports::{Message, Refused, Submission, Submitted};
use deadpool_postgres::Transaction;
use domain::{EventKind, Job, JobId, JobKind, JobState, QueueKey, TenantId, Timestamp};
use serde_json::Map;

use crate::PostgresStore;
use crate::error::Failure;
use crate::events::{self, Events};
use crate::json::{Jsonb, jsonb, text};
use crate::pipeline::prepare;
use crate::rows::int;
use crate::slots::{self, Changes, Keys, Slots};

const INSERT: &str = "INSERT INTO jobs (id, tenant_id, kind, state, priority, title, tags, metadata, spec,
        max_attempts, max_duration_seconds, run_after, parent_id, event_seq, published_at,
        created_at, updated_at, queued_at)
    SELECT j.id, j.tenant_id, j.kind, j.state, j.priority, j.title, j.tags::text[], j.metadata, j.spec,
        j.max_attempts, j.max_duration_seconds, j.run_after, j.parent_id, j.event_seq,
        CASE WHEN j.published THEN $1::timestamptz END, j.created_at, j.updated_at, j.queued_at
    FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::int2[], $7::text[], $8::text[],
            $9::jsonb[], $10::jsonb[], $11::int4[], $12::int4[], $13::timestamptz[], $14::uuid[], $15::int8[],
            $16::bool[], $17::timestamptz[], $18::timestamptz[], $19::timestamptz[])
        AS j (id, tenant_id, kind, state, priority, title, tags, metadata, spec,
            max_attempts, max_duration_seconds, run_after, parent_id, event_seq,
            published, created_at, updated_at, queued_at)";

pub(crate) async fn submit(
    store: &PostgresStore,
    submissions: Vec<Submission>,
    now: Timestamp,
) -> Result<Submitted, Failure> {
    let keys = Keys::of_tenants(submissions.iter().map(|submission| submission.tenant));
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(
        &tx,
        &[
            slots::LOCK,
            &slots::READ,
            INSERT,
            events::INSERT,
            &slots::APPLY,
        ],
    )
    .await?;
    let ((), slots) = futures::try_join!(slots::lock(&tx, &keys), slots::read(&tx, &keys))?;

    let (outcomes, accepted) = admit(submissions, &slots);
    if accepted.is_empty() {
        return Ok(Submitted {
            outcomes,
            ..Submitted::default()
        });
    }
    let publish = publish_at_once(&accepted, &slots, now);
    let mut changes = Changes::default();
    for job in &accepted {
        changes.created(job.queue(), job.state());
    }
    for message in publish.values() {
        changes.of(message.queue).published += 1;
    }
    let events = first_events(&accepted)?;
    let ((), (), slots) = futures::try_join!(
        insert(&tx, &accepted, &publish, now),
        events.insert(&tx, now),
        changes.apply(&tx)
    )?;
    tx.commit().await?;
    Ok(Submitted {
        outcomes,
        publish: in_order(publish),
        slots,
    })
}

/// Each submission whole or not at all; one sees what those before it took.
fn admit(submissions: Vec<Submission>, slots: &Slots) -> (Vec<Result<(), Refused>>, Vec<Job>) {
    let mut waiting: BTreeMap<TenantId, u32> = BTreeMap::new();
    let mut accepted = Vec::new();
    let outcomes = submissions
        .into_iter()
        .map(|submission| {
            let offered = u32::try_from(submission.jobs.len()).unwrap_or(u32::MAX);
            let waiting = waiting
                .entry(submission.tenant)
                .or_insert_with(|| backlog(submission.tenant, slots));
            room(submission.tenant, slots, *waiting, offered)?;
            *waiting += offered;
            accepted.extend(submission.jobs);
            Ok(())
        })
        .collect();
    (outcomes, accepted)
}

/// What waits of a tenant, all kinds together.
pub(crate) fn backlog(tenant: TenantId, slots: &Slots) -> u32 {
    JobKind::ALL
        .iter()
        .filter_map(|&kind| slots.get(&QueueKey { tenant, kind }))
        .map(|slot| slot.pending.saturating_add(slot.seen.queued))
        .fold(0, u32::saturating_add)
}

/// Whether the tenant may have `offered` more jobs wait than the `waiting` it has.
pub(crate) fn room(
    tenant: TenantId,
    slots: &Slots,
    waiting: u32,
    offered: u32,
) -> Result<(), Refused> {
    let slot = JobKind::ALL
        .iter()
        .find_map(|&kind| slots.get(&QueueKey { tenant, kind }))
        .ok_or(Refused::TenantUnknown(tenant))?;
    if !slot.tenant_active {
        return Err(Refused::TenantInactive(tenant));
    }
    if waiting.saturating_add(offered) > slot.max_queued {
        return Err(Refused::BacklogFull {
            limit: slot.max_queued,
            waiting,
            offered,
        });
    }
    Ok(())
}

/// True when a queued job may run as far as time is concerned.
pub(crate) fn is_due(job: &Job, now: Timestamp) -> bool {
    job.state() == JobState::Queued && job.run_after.is_none_or(|at| at <= now)
}

/// The due jobs that get a message in this transaction: by queue as many as fit, in the order they would be relayed.
fn publish_at_once(accepted: &[Job], slots: &Slots, now: Timestamp) -> BTreeMap<JobId, Message> {
    let mut due: Vec<Message> = accepted
        .iter()
        .filter(|job| is_due(job, now))
        .map(message)
        .collect();
    due.sort_unstable_by_key(|message| (message.priority.rank(), message.job));
    let mut rooms: BTreeMap<QueueKey, u32> = slots
        .iter()
        .map(|(queue, slot)| (*queue, slot.publishable_at_once()))
        .collect();
    due.retain(|message| match rooms.get_mut(&message.queue) {
        Some(room) if *room > 0 => {
            *room -= 1;
            true
        }
        _ => false,
    });
    due.into_iter()
        .map(|message| (message.job, message))
        .collect()
}

pub(crate) fn message(job: &Job) -> Message {
    Message {
        queue: job.queue(),
        job: job.id,
        priority: job.priority,
    }
}

fn in_order(publish: BTreeMap<JobId, Message>) -> Vec<Message> {
    let mut messages: Vec<Message> = publish.into_values().collect();
    messages.sort_unstable_by_key(|message| (message.queue, message.priority.rank(), message.job));
    messages
}

const fn event_seq(job: &Job) -> i64 {
    match job.state() {
        JobState::Queued => 2,
        _ => 1,
    }
}

fn first_events(jobs: &[Job]) -> Result<Events, Failure> {
    let mut events = Events::default();
    let nothing = Map::new();
    for job in jobs {
        let of = (job.tenant, job.id);
        events.add(of, 1, EventKind::Created, 0, &nothing)?;
        if job.state() == JobState::Queued {
            events.add(of, 2, EventKind::Queued, 0, &nothing)?;
        }
    }
    Ok(events)
}

async fn insert(
    tx: &Transaction<'_>,
    jobs: &[Job],
    publish: &BTreeMap<JobId, Message>,
    now: Timestamp,
) -> Result<(), Failure> {
    let insert = tx.prepare_cached(INSERT).await?;
    let metadata = each(jobs, |job| jsonb(&job.metadata))?;
    let spec = each(jobs, |job| jsonb(&job.spec))?;
    tx.execute(
        &insert,
        &[
            &now,
            &column(jobs, |job| job.id.as_uuid()),
            &column(jobs, |job| job.tenant.as_uuid()),
            &column(jobs, |job| job.kind().as_str()),
            &column(jobs, |job| job.state().as_str()),
            &column(jobs, |job| i16::from(job.priority.rank())),
            &column(jobs, |job| text(&job.title)),
            &column(jobs, |job| array_literal(&job.tags)),
            &metadata,
            &spec,
            &column(jobs, |job| int(job.max_attempts)),
            &column(jobs, |job| int(job.max_duration_seconds)),
            &column(jobs, |job| job.run_after),
            &column(jobs, |job| job.parent.map(JobId::as_uuid)),
            &column(jobs, event_seq),
            &column(jobs, |job| publish.contains_key(&job.id)),
            &column(jobs, |job| job.created_at),
            &column(jobs, |job| job.updated_at),
            &column(jobs, |job| job.queued_at),
        ],
    )
    .await?;
    Ok(())
}

fn column<T>(jobs: &[Job], pick: impl Fn(&Job) -> T) -> Vec<T> {
    jobs.iter().map(pick).collect()
}

fn each(
    jobs: &[Job],
    pick: impl Fn(&Job) -> Result<Jsonb, Failure>,
) -> Result<Vec<Jsonb>, Failure> {
    jobs.iter().map(pick).collect()
}

/// Lists of lists cannot be unnested, so each job's tags travel as the text of an array.
fn array_literal(tags: &[String]) -> String {
    let quoted: Vec<String> = tags
        .iter()
        .map(|tag| {
            let escaped = text(tag).replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{escaped}\"")
        })
        .collect();
    format!("{{{}}}", quoted.join(","))
}
