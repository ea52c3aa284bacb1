//! SUBMIT: many clients' submissions in one transaction and a handful of statements.

use std::collections::BTreeMap;

use application::ports::{Refused, Submission, Submitted};
use deadpool_postgres::Transaction;
use domain::{Job, JobId, JobKind, JobState, QueueKey, TenantId, Timestamp};

use crate::error::Failure;
use crate::json::{jsonb, jsonb_or_null, text};
use crate::pipeline::prepare;
use crate::prerequisites::{self, Edges, Stored};
use crate::rows::int;
use crate::slots::{self, Changes, Keys, Slots};
use crate::{PostgresStore, budgets};

/// The job, and its first events: `created`, and `queued` where it is.
const INSERT: &str = "WITH j AS (
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int2[], $6::text[], $7::text[],
            $8::jsonb[], $9::jsonb[], $10::int4[], $11::int4[], $12::timestamptz[], $13::timestamptz[], $14::jsonb[],
            $15::text[], $16::text[], $17::int4[], $18::uuid[], $19::int8[], $20::timestamptz[], $21::timestamptz[],
            $22::timestamptz[], $23::bool[], $24::text[])
        AS j (id, tenant_id, kind, state, priority, title, tags, metadata, spec, max_attempts,
            max_duration_seconds, run_after, deadline, requires, depends_on, if_prerequisite_fails, unmet, parent_id,
            event_seq, created_at, queued_at, turn, due, ancestors)
    ), jobs AS (
        INSERT INTO jobs (id, tenant_id, kind, state, priority, title, tags, metadata, spec, max_attempts,
            max_duration_seconds, run_after, deadline, requires, depends_on, if_prerequisite_fails, unmet, parent_id,
            event_seq, created_at, updated_at, queued_at, turn, due, ancestors)
        SELECT id, tenant_id, kind, state, priority, title, tags::text[], metadata, spec, max_attempts,
            max_duration_seconds, run_after, deadline, requires, depends_on::uuid[], if_prerequisite_fails, unmet,
            parent_id, event_seq, created_at, created_at, queued_at, turn, due, ancestors::uuid[]
        FROM j
    )
    INSERT INTO job_events (job_id, seq, tenant_id, at, kind, attempt)
    SELECT j.id, e.seq, j.tenant_id, j.created_at, e.kind, 0
    FROM j CROSS JOIN (VALUES (1::int8, 'created'), (2::int8, 'queued')) AS e (seq, kind)
    WHERE e.seq <= j.event_seq";

pub(crate) async fn submit(
    store: &PostgresStore,
    submissions: Vec<Submission>,
    now: Timestamp,
) -> Result<Submitted, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let submitted = submit_in(&tx, submissions, now).await?;
    tx.commit().await?;
    Ok(submitted)
}

/// A submit as a part of `tx`, which holds no locks of slots or jobs yet. What is refused has changed nothing.
pub(crate) async fn submit_in(
    tx: &Transaction<'_>,
    submissions: Vec<Submission>,
    now: Timestamp,
) -> Result<Submitted, Failure> {
    let keys = Keys::of_tenants(submissions.iter().map(|submission| submission.tenant));
    prepare(tx, &[slots::LOCK, &slots::READ, INSERT, &slots::APPLY]).await?;
    let ((), slots) = futures::try_join!(slots::lock(tx, &keys), slots::read(tx, &keys))?;
    let stored = prerequisites::stored(tx, &submissions).await?;

    let (outcomes, accepted) = admit(submissions, &slots, &stored);
    if accepted.is_empty() {
        return Ok(Submitted {
            outcomes,
            ..Submitted::default()
        });
    }
    let mut changes = Changes::default();
    for job in &accepted {
        changes.created(job.queue(), job.state(), is_ready(job, now));
    }
    let publish = changes.publish(&slots);
    let edges = Edges::of(&accepted, &stored);
    let ((), (), (), slots) = futures::try_join!(
        insert(tx, &accepted, (&edges, &stored), now),
        edges.insert(tx),
        budgets::open(tx, &accepted),
        changes.apply(tx, now)
    )?;
    Ok(Submitted {
        outcomes,
        publish,
        slots,
        to_release: edges.to_release,
    })
}

/// Each submission whole or not at all; one sees what those before it took.
fn admit(
    submissions: Vec<Submission>,
    slots: &Slots,
    stored: &Stored,
) -> (Vec<Result<(), Refused>>, Vec<Job>) {
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
            open(&submission, slots)?;
            stored.know_all(&submission)?;
            *waiting += offered;
            accepted.extend(submission.jobs);
            Ok(())
        })
        .collect();
    (outcomes, accepted)
}

/// Whether all queues that the submission goes to take new jobs.
fn open(submission: &Submission, slots: &Slots) -> Result<(), Refused> {
    submission
        .jobs
        .iter()
        .try_for_each(|job| not_draining(job.queue(), slots))
}

pub(crate) fn not_draining(queue: QueueKey, slots: &Slots) -> Result<(), Refused> {
    match slots.get(&queue) {
        Some(slot) if slot.draining => Err(Refused::QueueDraining {
            kind: queue.kind,
            paused: slot.seen.paused,
        }),
        _ => Ok(()),
    }
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

/// True when any worker may run it now.
pub(crate) fn is_ready(job: &Job, now: Timestamp) -> bool {
    job.is_due(now) && job.requires.is_empty()
}

const fn event_seq(job: &Job) -> i64 {
    match job.state() {
        JobState::Queued => 2,
        _ => 1,
    }
}

async fn insert(
    tx: &Transaction<'_>,
    jobs: &[Job],
    (edges, stored): (&Edges, &Stored),
    now: Timestamp,
) -> Result<(), Failure> {
    let insert = tx.prepare_cached(INSERT).await?;
    let metadata = each(jobs, |job| jsonb(&job.metadata))?;
    let spec = each(jobs, |job| jsonb(&job.spec))?;
    let requires = each(jobs, |job| {
        jsonb_or_null((!job.requires.is_empty()).then_some(&job.requires))
    })?;
    tx.execute(
        &insert,
        &[
            &column(jobs, |job| job.id.as_uuid()),
            &column(jobs, |job| job.tenant.as_uuid()),
            &column(jobs, |job| job.kind().as_str()),
            &column(jobs, |job| job.state().as_str()),
            &column(jobs, |job| i16::from(job.priority.rank())),
            &column(jobs, |job| text(&job.title)),
            &column(jobs, |job| {
                array_literal(job.tags.iter().map(String::as_str))
            }),
            &metadata,
            &spec,
            &column(jobs, |job| int(job.max_attempts)),
            &column(jobs, |job| int(job.max_duration_seconds)),
            &column(jobs, |job| job.run_after),
            &column(jobs, |job| job.deadline),
            &requires,
            &column(jobs, |job| uuid_array(&job.depends_on)),
            &column(jobs, |job| job.if_prerequisite_fails.as_str()),
            &column(jobs, |job| edges.unmet(job.id)),
            &column(jobs, |job| job.parent.map(JobId::as_uuid)),
            &column(jobs, event_seq),
            &column(jobs, |job| job.created_at),
            &column(jobs, |job| job.queued_at),
            &column(jobs, |job| job.turn),
            &column(jobs, |job| job.run_after.is_none_or(|at| at <= now)),
            &column(jobs, |job| uuid_array(&stored.ancestors(job))),
        ],
    )
    .await?;
    Ok(())
}

fn column<T>(jobs: &[Job], pick: impl Fn(&Job) -> T) -> Vec<T> {
    jobs.iter().map(pick).collect()
}

fn each<T>(jobs: &[Job], pick: impl Fn(&Job) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    jobs.iter().map(pick).collect()
}

fn uuid_array(jobs: &[JobId]) -> String {
    let ids: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    array_literal(ids.iter().map(String::as_str))
}

/// Lists of lists cannot be unnested, so each job's lists travel as the text of an array.
fn array_literal<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = items
        .map(|item| {
            let escaped = text(item).replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{escaped}\"")
        })
        .collect();
    format!("{{{}}}", quoted.join(","))
}
