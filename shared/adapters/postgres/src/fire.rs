//! FIRE: a schedule's ticks become jobs, in one transaction with what the schedule says of them.
//!
//! The schedule's row is locked first, then what a submit locks. Nothing that holds those locks asks for a schedule.

use std::sync::LazyLock;

use application::ports::{DueSchedules, Fired, Firing, NextTick, Submission};
use deadpool_postgres::Transaction;
use domain::{Job, JobId, JobState, Schedule, TenantId, Timestamp};

use crate::error::Failure;
use crate::json::text;
use crate::schedules::{SCHEDULE, schedule};
use crate::{PostgresStore, rows, submit};

static DUE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {SCHEDULE} FROM schedules WHERE next_at IS NOT NULL AND next_at <= $1 ORDER BY next_at, id LIMIT $2"
    )
});
const NEXT: &str = "SELECT min(next_at) AS next_at FROM schedules WHERE next_at > $1";

static LOCK: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {SCHEDULE} FROM schedules WHERE tenant_id = $1 AND id = $2 FOR UPDATE")
});
const STATE: &str = "SELECT state FROM jobs WHERE tenant_id = $1 AND id = $2";

const NOTE_JOB: &str = "UPDATE schedules SET last_job = coalesce($2, last_job) WHERE id = $1";
const NOTE_TICK: &str =
    "UPDATE schedules SET last_job = coalesce($2, last_job), next_at = $3, last_tick_at = $4,
        last_error = $5, last_error_at = $6
    WHERE id = $1";

pub(crate) async fn due(
    store: &PostgresStore,
    limit: u32,
    now: Timestamp,
) -> Result<DueSchedules, Failure> {
    let client = store.client().await?;
    let due = client.prepare_cached(&DUE).await?;
    let rows = client.query(&due, &[&now, &i64::from(limit)]).await?;
    let next = client.prepare_cached(NEXT).await?;
    let row = client.query_one(&next, &[&now]).await?;
    Ok(DueSchedules {
        schedules: rows.iter().map(schedule).collect::<Result<_, _>>()?,
        next: rows::get(&row, "next_at")?,
    })
}

pub(crate) async fn fire(
    store: &PostgresStore,
    firing: Firing,
    now: Timestamp,
) -> Result<Fired, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let Some(schedule) = unmoved(&tx, &firing).await? else {
        return Ok(Fired {
            moved: true,
            ..Fired::default()
        });
    };
    let mut fired = Fired::default();
    if firing.unless_running && !firing.jobs.is_empty() {
        fired.overlaps = running(&tx, schedule.tenant, schedule.last_job).await?;
    }
    if fired.overlaps.is_none() && !firing.jobs.is_empty() {
        submit_each(&tx, firing.tenant, &firing.jobs, &mut fired, now).await?;
    }
    note(&tx, &firing, &fired, now).await?;
    tx.commit().await?;
    Ok(fired)
}

/// The schedule under its lock, if it is still what the firing was made from.
async fn unmoved(tx: &Transaction<'_>, firing: &Firing) -> Result<Option<Schedule>, Failure> {
    let lock = tx.prepare_cached(&LOCK).await?;
    let row = tx
        .query_opt(
            &lock,
            &[&firing.tenant.as_uuid(), &firing.schedule.as_uuid()],
        )
        .await?;
    let schedule = row.as_ref().map(schedule).transpose()?;
    Ok(schedule.filter(|it| {
        let same_tick = |tick: NextTick| it.next_at == Some(tick.expected);
        it.version == firing.version && firing.tick.is_none_or(same_tick)
    }))
}

/// The job, if it has not ended.
async fn running(
    tx: &Transaction<'_>,
    tenant: TenantId,
    job: Option<JobId>,
) -> Result<Option<JobId>, Failure> {
    let Some(job) = job else {
        return Ok(None);
    };
    let state = tx.prepare_cached(STATE).await?;
    let row = tx
        .query_opt(&state, &[&tenant.as_uuid(), &job.as_uuid()])
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let state: JobState = rows::named(&row, "state")?;
    Ok((!state.is_finished()).then_some(job))
}

async fn submit_each(
    tx: &Transaction<'_>,
    tenant: TenantId,
    jobs: &[Job],
    fired: &mut Fired,
    now: Timestamp,
) -> Result<(), Failure> {
    let submissions = jobs.iter().map(|job| Submission {
        tenant,
        jobs: vec![job.clone()],
    });
    fired.submitted = submit::submit_in(tx, submissions.collect(), now).await?;
    for (job, outcome) in jobs.iter().zip(&fired.submitted.outcomes) {
        match outcome {
            Ok(()) => fired.jobs.push(job.id),
            Err(refused) => fired.refused = fired.refused.take().or(Some(refused.clone())),
        }
    }
    Ok(())
}

/// What the schedule says of it. A person who was refused was told so and needs no note.
async fn note(
    tx: &Transaction<'_>,
    firing: &Firing,
    fired: &Fired,
    now: Timestamp,
) -> Result<(), Failure> {
    let id = firing.schedule.as_uuid();
    let last_job = fired.jobs.last().map(|job| job.as_uuid());
    let Some(tick) = firing.tick else {
        let note = tx.prepare_cached(NOTE_JOB).await?;
        tx.execute(&note, &[&id, &last_job]).await?;
        return Ok(());
    };
    let error = fired.error(firing);
    let note = tx.prepare_cached(NOTE_TICK).await?;
    tx.execute(
        &note,
        &[
            &id,
            &last_job,
            &tick.next,
            &tick.latest,
            &error.as_deref().map(text),
            &error.as_ref().map(|_| now),
        ],
    )
    .await?;
    Ok(())
}
