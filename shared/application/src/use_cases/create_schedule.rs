//! A new schedule: its timetable is understood and comes again, and every job of it would be taken.

use domain::{NewSchedule, Schedule, ScheduleId, TenantId, Violations};

use crate::Timetable;
use crate::ports::{Ports, ScheduleStoreError, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum CreateScheduleError {
    #[error(transparent)]
    Invalid(#[from] Violations),
    #[error(transparent)]
    Store(#[from] ScheduleStoreError),
}

pub async fn create_schedule(
    ports: &Ports,
    tenant: TenantId,
    new: NewSchedule,
) -> Result<Schedule, CreateScheduleError> {
    let now = ports.clock.now();
    let id = ScheduleId::from_uuid(ports.ids.next(now));
    let mut violations = Violations::default();
    let first = Timetable::parse(&new.cron, &new.timezone).and_then(|it| it.after(now));
    // Without a first tick there will be no schedule, but what else is wrong with it is told as well.
    let first = first.unwrap_or_else(|error| {
        violations = error.violations();
        now
    });
    let schedule = match new.into_schedule(id, tenant, first, now) {
        Ok(schedule) => violations.or(schedule)?,
        Err(others) => {
            violations.0.extend(others.0);
            return Err(violations.into());
        }
    };
    if let Some(wrong) = unknown_parent(ports, &schedule)
        .await
        .map_err(ScheduleStoreError::from)?
    {
        return Err(wrong.into());
    }
    ports.schedules.create_schedule(schedule.clone()).await?;
    Ok(schedule)
}

/// What is wrong with the job that its jobs are to belong to. Jobs are never deleted, so what is true now stays so; a tick
/// is checked again all the same.
pub(super) async fn unknown_parent(
    ports: &Ports,
    schedule: &Schedule,
) -> Result<Option<Violations>, StoreError> {
    let Some(parent) = schedule.template.parent else {
        return Ok(None);
    };
    if ports.jobs.get(schedule.tenant, parent).await?.is_some() {
        return Ok(None);
    }
    let mut violations = Violations::default();
    let pointer = format!("/{}/parent_id", schedule.template.spec.kind());
    violations.add(pointer, format!("there is no job {parent} to belong to"));
    Ok(Some(violations))
}
