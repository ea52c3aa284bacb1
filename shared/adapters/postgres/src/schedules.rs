//! Schedules: what people do with them. What their ticks do is in `fire`.

use std::sync::LazyLock;

use application::ports::{
    DueSchedules, Fired, Firing, SCHEDULES_MAX, ScheduleStore, ScheduleStoreError, StoreError,
};
use async_trait::async_trait;
use domain::{JobId, Schedule, ScheduleError, ScheduleId, TenantId, Timestamp};
use tokio_postgres::Row;

use crate::error::{During, Failure};
use crate::json::{jsonb, text};
use crate::{PostgresStore, fire, rows, statement};

/// What [`schedule`] reads.
pub(crate) const SCHEDULE: &str = "id, tenant_id, name, cron, timezone, template, missed, overlap, paused, next_at, \
    last_tick_at, last_job, last_error, last_error_at, version, created_at, updated_at";

static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO schedules ({SCHEDULE})
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        ON CONFLICT (tenant_id, name) DO NOTHING"
    )
});
static BY_ID: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {SCHEDULE} FROM schedules WHERE tenant_id = $1 AND id = $2"));
static BY_NAME: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {SCHEDULE} FROM schedules WHERE tenant_id = $1 AND name = $2")
});
static PAGE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {SCHEDULE} FROM schedules WHERE tenant_id = $1 AND ($2::text IS NULL OR name > $2)
        ORDER BY name LIMIT $3"
    )
});

/// One creator of a tenant's schedules at a time, so that the count holds. Nobody who has this lock asks for another.
const LOCK_TENANT: &str = "SELECT id FROM tenants WHERE id = $1 FOR NO KEY UPDATE";
const COUNT: &str = "SELECT count(*) AS schedules FROM schedules WHERE tenant_id = $1";

const UPDATE: &str =
    "UPDATE schedules SET cron = $5, timezone = $6, template = $7, missed = $8, overlap = $9,
        paused = $10, next_at = $11, version = $12, updated_at = $13
    WHERE tenant_id = $1 AND id = $2 AND version = $3 AND next_at IS NOT DISTINCT FROM $4";

const DELETE: &str = "DELETE FROM schedules WHERE tenant_id = $1 AND id = $2";

#[async_trait]
impl ScheduleStore for PostgresStore {
    async fn create_schedule(&self, schedule: Schedule) -> Result<(), ScheduleStoreError> {
        create(self, schedule).await.during("creating a schedule")?
    }

    async fn schedule(
        &self,
        tenant: TenantId,
        id: ScheduleId,
    ) -> Result<Option<Schedule>, StoreError> {
        statement::one(self, &BY_ID, &[&tenant.as_uuid(), &id.as_uuid()], schedule)
            .await
            .during("reading a schedule")
    }

    async fn schedule_by_name(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<Schedule>, StoreError> {
        statement::one(self, &BY_NAME, &[&tenant.as_uuid(), &text(name)], schedule)
            .await
            .during("reading a schedule")
    }

    async fn schedules(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Schedule>, StoreError> {
        let (tenant, after, limit) = (tenant.as_uuid(), after.map(text), i64::from(limit));
        statement::all(self, &PAGE, &[&tenant, &after, &limit], schedule)
            .await
            .during("listing schedules")
    }

    async fn change_schedule(
        &self,
        before: &Schedule,
        after: &Schedule,
    ) -> Result<bool, StoreError> {
        change(self, before, after)
            .await
            .during("changing a schedule")
    }

    async fn delete_schedule(&self, tenant: TenantId, id: ScheduleId) -> Result<bool, StoreError> {
        let deleted = statement::run(self, DELETE, &[&tenant.as_uuid(), &id.as_uuid()])
            .await
            .during("deleting a schedule")?;
        Ok(deleted > 0)
    }

    async fn due_schedules(&self, limit: u32, now: Timestamp) -> Result<DueSchedules, StoreError> {
        fire::due(self, limit, now)
            .await
            .during("reading due schedules")
    }

    async fn fire(&self, firing: Firing, now: Timestamp) -> Result<Fired, StoreError> {
        fire::fire(self, firing, now)
            .await
            .during("firing a schedule")
    }
}

async fn create(
    store: &PostgresStore,
    schedule: Schedule,
) -> Result<Result<(), ScheduleStoreError>, Failure> {
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    let tenant = schedule.tenant.as_uuid();
    let lock = tx.prepare_cached(LOCK_TENANT).await?;
    tx.query_opt(&lock, &[&tenant]).await?;
    let count = tx.prepare_cached(COUNT).await?;
    let count: i64 = rows::get(&tx.query_one(&count, &[&tenant]).await?, "schedules")?;
    if count >= i64::from(SCHEDULES_MAX) {
        return Ok(Err(ScheduleStoreError::TooMany));
    }
    let insert = tx.prepare_cached(&INSERT).await?;
    let error = schedule.last_error.as_ref();
    let inserted = tx
        .execute(
            &insert,
            &[
                &schedule.id.as_uuid(),
                &tenant,
                &schedule.name,
                &text(&schedule.cron),
                &text(&schedule.timezone),
                &jsonb(&schedule.template)?,
                &schedule.missed.as_str(),
                &schedule.overlap.as_str(),
                &schedule.paused,
                &schedule.next_at,
                &schedule.last_tick_at,
                &schedule.last_job.map(JobId::as_uuid),
                &error.map(|error| text(&error.message)),
                &error.map(|error| error.at),
                &schedule.version,
                &schedule.created_at,
                &schedule.updated_at,
            ],
        )
        .await?;
    if inserted == 0 {
        return Ok(Err(ScheduleStoreError::NameTaken(schedule.name)));
    }
    tx.commit().await?;
    Ok(Ok(()))
}

async fn change(
    store: &PostgresStore,
    before: &Schedule,
    after: &Schedule,
) -> Result<bool, Failure> {
    let updated = statement::run(
        store,
        UPDATE,
        &[
            &before.tenant.as_uuid(),
            &before.id.as_uuid(),
            &before.version,
            &before.next_at,
            &text(&after.cron),
            &text(&after.timezone),
            &jsonb(&after.template)?,
            &after.missed.as_str(),
            &after.overlap.as_str(),
            &after.paused,
            &after.next_at,
            &after.version,
            &after.updated_at,
        ],
    )
    .await?;
    Ok(updated > 0)
}

pub(crate) fn schedule(row: &Row) -> Result<Schedule, Failure> {
    let message: Option<String> = rows::get(row, "last_error")?;
    let at: Option<Timestamp> = rows::get(row, "last_error_at")?;
    Ok(Schedule {
        id: ScheduleId::from_uuid(rows::get(row, "id")?),
        tenant: rows::tenant_id(row, "tenant_id")?,
        name: rows::get(row, "name")?,
        cron: rows::get(row, "cron")?,
        timezone: rows::get(row, "timezone")?,
        template: rows::json(row, "template")?,
        missed: rows::named(row, "missed")?,
        overlap: rows::named(row, "overlap")?,
        paused: rows::get(row, "paused")?,
        next_at: rows::get(row, "next_at")?,
        last_tick_at: rows::get(row, "last_tick_at")?,
        last_job: rows::job_id_or_null(row, "last_job")?,
        last_error: message
            .zip(at)
            .map(|(message, at)| ScheduleError { at, message }),
        version: rows::get(row, "version")?,
        created_at: rows::get(row, "created_at")?,
        updated_at: rows::get(row, "updated_at")?,
    })
}
