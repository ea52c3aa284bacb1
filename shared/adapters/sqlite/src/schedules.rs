//! Schedules: what people do with them. What their ticks do is in `fire`.

use application::ports::{
    DueSchedules, Fired, Firing, SCHEDULES_MAX, ScheduleStore, ScheduleStoreError, StoreError,
};
use async_trait::async_trait;
use domain::{JobId, Schedule, ScheduleError, ScheduleId, TenantId, Timestamp};
use sqlx::sqlite::SqliteRow;

use crate::batch::{json, text};
use crate::error::{failed, refused};
use crate::rows::{Reader, micros};
use crate::statement::{all, one, run};
use crate::{SqliteStore, Write, fire};

#[async_trait]
impl ScheduleStore for SqliteStore {
    async fn create_schedule(&self, schedule: Schedule) -> Result<(), ScheduleStoreError> {
        let mut tx = self.write().await?;
        let (count,): (u32,) = sqlx::query_as("SELECT count(*) FROM schedules WHERE tenant_id = ?")
            .bind(schedule.tenant.as_uuid())
            .fetch_one(&mut *tx)
            .await
            .map_err(failed)?;
        if count >= SCHEDULES_MAX {
            return Err(ScheduleStoreError::TooMany);
        }
        insert(&mut tx, &schedule).await?;
        tx.commit().await.map_err(failed)?;
        Ok(())
    }

    async fn schedule(
        &self,
        tenant: TenantId,
        id: ScheduleId,
    ) -> Result<Option<Schedule>, StoreError> {
        let query = sqlx::query("SELECT * FROM schedules WHERE id = ? AND tenant_id = ?")
            .bind(id.as_uuid())
            .bind(tenant.as_uuid());
        one(&self.readers, query, schedule).await
    }

    async fn schedule_by_name(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<Schedule>, StoreError> {
        let query = sqlx::query("SELECT * FROM schedules WHERE tenant_id = ? AND name = ?")
            .bind(tenant.as_uuid())
            .bind(name);
        one(&self.readers, query, schedule).await
    }

    async fn schedules(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Schedule>, StoreError> {
        let query = sqlx::query(
            "SELECT * FROM schedules WHERE tenant_id = ? AND name > ? ORDER BY name LIMIT +?",
        )
        .bind(tenant.as_uuid())
        .bind(after.unwrap_or_default())
        .bind(limit);
        all(&self.readers, query, schedule).await
    }

    async fn change_schedule(
        &self,
        before: &Schedule,
        after: &Schedule,
    ) -> Result<bool, StoreError> {
        let update = sqlx::query(
            "UPDATE schedules SET cron = ?, timezone = ?, template = ?, missed = ?, overlap = ?, paused = ?,
                    next_at = ?, version = ?, updated_at = ?
             WHERE id = ? AND tenant_id = ? AND version = ? AND next_at IS ?",
        )
        .bind(&after.cron)
        .bind(&after.timezone)
        .bind(json(&after.template)?)
        .bind(after.missed.as_str())
        .bind(after.overlap.as_str())
        .bind(after.paused)
        .bind(micros(after.next_at))
        .bind(after.version)
        .bind(after.updated_at.timestamp_micros())
        .bind(before.id.as_uuid())
        .bind(before.tenant.as_uuid())
        .bind(before.version)
        .bind(micros(before.next_at));
        Ok(run(self, update).await? > 0)
    }

    async fn delete_schedule(&self, tenant: TenantId, id: ScheduleId) -> Result<bool, StoreError> {
        let delete = sqlx::query("DELETE FROM schedules WHERE id = ? AND tenant_id = ?")
            .bind(id.as_uuid())
            .bind(tenant.as_uuid());
        Ok(run(self, delete).await? > 0)
    }

    async fn due_schedules(&self, limit: u32, now: Timestamp) -> Result<DueSchedules, StoreError> {
        fire::due(self, limit, now).await
    }

    async fn fire(&self, firing: Firing, now: Timestamp) -> Result<Fired, StoreError> {
        fire::fire(self, firing, now).await
    }
}

async fn insert(tx: &mut Write, schedule: &Schedule) -> Result<(), ScheduleStoreError> {
    let error = schedule.last_error.as_ref();
    sqlx::query(
        "INSERT INTO schedules (id, tenant_id, name, cron, timezone, template, missed, overlap, paused, next_at,
                                last_tick_at, last_job, last_error, last_error_at, version, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(schedule.id.as_uuid())
    .bind(schedule.tenant.as_uuid())
    .bind(&schedule.name)
    .bind(&schedule.cron)
    .bind(&schedule.timezone)
    .bind(json(&schedule.template)?)
    .bind(schedule.missed.as_str())
    .bind(schedule.overlap.as_str())
    .bind(schedule.paused)
    .bind(micros(schedule.next_at))
    .bind(micros(schedule.last_tick_at))
    .bind(schedule.last_job.map(JobId::as_uuid))
    .bind(error.map(|error| text(&error.message)))
    .bind(micros(error.map(|error| error.at)))
    .bind(schedule.version)
    .bind(schedule.created_at.timestamp_micros())
    .bind(schedule.updated_at.timestamp_micros())
    .execute(&mut **tx)
    .await
    .map_err(|error| refused(error, || ScheduleStoreError::NameTaken(schedule.name.clone())))?;
    Ok(())
}

/// A whole row of `schedules`.
pub fn schedule(row: &SqliteRow) -> Result<Schedule, StoreError> {
    let row = Reader(row);
    let message: Option<String> = row.get("last_error")?;
    let last_error = message.zip(row.maybe_time("last_error_at")?);
    Ok(Schedule {
        id: ScheduleId::from_uuid(row.get("id")?),
        tenant: row.tenant_id("tenant_id")?,
        name: row.get("name")?,
        cron: row.get("cron")?,
        timezone: row.get("timezone")?,
        template: row.json("template")?,
        missed: row.name("missed")?,
        overlap: row.name("overlap")?,
        paused: row.get("paused")?,
        next_at: row.maybe_time("next_at")?,
        last_tick_at: row.maybe_time("last_tick_at")?,
        last_job: row.maybe_job_id("last_job")?,
        last_error: last_error.map(|(message, at)| ScheduleError { at, message }),
        version: row.get("version")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
