//! FIRE: a schedule's ticks become jobs, in one transaction with what the schedule says of them.

use application::ports::{DueSchedules, Fired, Firing, StoreError, Submission};
use domain::{Job, JobId, JobState, Schedule, TenantId, Timestamp};

use crate::batch::text;
use crate::error::failed;
use crate::rows::{Reader, micros};
use crate::schedules::schedule;
use crate::statement::{all, one};
use crate::{SqliteStore, Write, submit};

pub async fn due(
    store: &SqliteStore,
    limit: u32,
    now: Timestamp,
) -> Result<DueSchedules, StoreError> {
    let query = sqlx::query(
        "SELECT * FROM schedules WHERE next_at IS NOT NULL AND next_at <= ? ORDER BY next_at, id LIMIT +?",
    )
    .bind(now.timestamp_micros())
    .bind(limit);
    let schedules = all(&store.readers, query, schedule).await?;
    let row = sqlx::query("SELECT min(next_at) AS next_at FROM schedules WHERE next_at > ?")
        .bind(now.timestamp_micros())
        .fetch_one(&store.readers)
        .await
        .map_err(failed)?;
    Ok(DueSchedules {
        schedules,
        next: Reader(&row).maybe_time("next_at")?,
    })
}

pub async fn fire(
    store: &SqliteStore,
    firing: Firing,
    now: Timestamp,
) -> Result<Fired, StoreError> {
    let mut tx = store.write().await?;
    let Some(schedule) = unmoved(&mut tx, &firing).await? else {
        return Ok(Fired {
            moved: true,
            ..Fired::default()
        });
    };
    let mut fired = Fired::default();
    if firing.unless_running && !firing.jobs.is_empty() {
        fired.overlaps = running(&mut tx, schedule.tenant, schedule.last_job).await?;
    }
    if fired.overlaps.is_none() && !firing.jobs.is_empty() {
        submit_each(&mut tx, firing.tenant, &firing.jobs, &mut fired, now).await?;
    }
    note(&mut tx, &firing, &fired, now).await?;
    tx.commit().await.map_err(failed)?;
    Ok(fired)
}

/// The schedule, if it is still what the firing was made from.
async fn unmoved(tx: &mut Write, firing: &Firing) -> Result<Option<Schedule>, StoreError> {
    let query = sqlx::query("SELECT * FROM schedules WHERE id = ? AND tenant_id = ?")
        .bind(firing.schedule.as_uuid())
        .bind(firing.tenant.as_uuid());
    let schedule = one(&mut **tx, query, schedule).await?;
    Ok(schedule.filter(|it| {
        let same_tick = |tick: application::ports::NextTick| it.next_at == Some(tick.expected);
        it.version == firing.version && firing.tick.is_none_or(same_tick)
    }))
}

/// The job, if it has not ended.
async fn running(
    tx: &mut Write,
    tenant: TenantId,
    job: Option<JobId>,
) -> Result<Option<JobId>, StoreError> {
    let Some(job) = job else {
        return Ok(None);
    };
    let query = sqlx::query("SELECT state FROM jobs WHERE id = ? AND tenant_id = ?")
        .bind(job.as_uuid())
        .bind(tenant.as_uuid());
    let state: Option<JobState> = one(&mut **tx, query, |row| Reader(row).name("state")).await?;
    Ok(state
        .is_some_and(|state| !state.is_finished())
        .then_some(job))
}

async fn submit_each(
    tx: &mut Write,
    tenant: TenantId,
    jobs: &[Job],
    fired: &mut Fired,
    now: Timestamp,
) -> Result<(), StoreError> {
    let submissions = jobs.iter().map(|job| Submission {
        tenant,
        jobs: vec![job.clone()],
    });
    let submissions: Vec<Submission> = submissions.collect();
    fired.submitted = submit::submit_in(tx, &submissions, now).await?;
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
    tx: &mut Write,
    firing: &Firing,
    fired: &Fired,
    now: Timestamp,
) -> Result<(), StoreError> {
    let last_job = fired.jobs.last().map(|job| job.as_uuid());
    let Some(tick) = firing.tick else {
        sqlx::query("UPDATE schedules SET last_job = coalesce(?, last_job) WHERE id = ?")
            .bind(last_job)
            .bind(firing.schedule.as_uuid())
            .execute(&mut **tx)
            .await
            .map_err(failed)?;
        return Ok(());
    };
    let error = fired.error(firing);
    sqlx::query(
        "UPDATE schedules SET next_at = ?, last_tick_at = ?, last_job = coalesce(?, last_job), last_error = ?,
                last_error_at = ?
         WHERE id = ?",
    )
    .bind(micros(tick.next))
    .bind(tick.latest.timestamp_micros())
    .bind(last_job)
    .bind(error.as_deref().map(text))
    .bind(error.as_ref().map(|_| now.timestamp_micros()))
    .bind(firing.schedule.as_uuid())
    .execute(&mut **tx)
    .await
    .map_err(failed)?;
    Ok(())
}
