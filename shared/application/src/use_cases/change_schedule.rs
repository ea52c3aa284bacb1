//! A person edits, pauses or resumes a schedule.

use domain::{Schedule, ScheduleChange, ScheduleId, TenantId, Violations};

use super::create_schedule::unknown_parent;
use crate::Timetable;
use crate::ports::{Ports, StoreError};

/// A tick or another editor may come between reading and writing; more often than that, something is wrong.
const TRIES: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum ChangeScheduleError {
    #[error(transparent)]
    Invalid(#[from] Violations),
    /// Somebody else changed it meanwhile.
    #[error("the schedule is at version {0} now")]
    VersionMoved(i64),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// With `expected`, only if the schedule is still at that version. `Ok(None)`: the tenant has no such schedule.
pub async fn change_schedule(
    ports: &Ports,
    tenant: TenantId,
    id: ScheduleId,
    change: ScheduleChange,
    expected: Option<i64>,
) -> Result<Option<Schedule>, ChangeScheduleError> {
    for _ in 0..TRIES {
        let Some(before) = ports.schedules.schedule(tenant, id).await? else {
            return Ok(None);
        };
        if expected.is_some_and(|version| version != before.version) {
            return Err(ChangeScheduleError::VersionMoved(before.version));
        }
        let after = changed(ports, before.clone(), change.clone())?;
        if change.template.is_some()
            && let Some(wrong) = unknown_parent(ports, &after).await?
        {
            return Err(wrong.into());
        }
        if ports.schedules.change_schedule(&before, &after).await? {
            return Ok(Some(after));
        }
    }
    let why =
        format!("schedule {id} was changed by others {TRIES} times while this change was made");
    Err(StoreError::Unavailable(why).into())
}

fn changed(
    ports: &Ports,
    before: Schedule,
    change: ScheduleChange,
) -> Result<Schedule, Violations> {
    let now = ports.clock.now();
    let cron = change.cron.as_ref().unwrap_or(&before.cron);
    let timezone = change.timezone.as_ref().unwrap_or(&before.timezone);
    let mut violations = Violations::default();
    let next = Timetable::parse(cron, timezone).and_then(|it| it.after(now));
    let next = next.unwrap_or_else(|error| {
        violations = error.violations();
        now
    });
    match before.change(change, next, now) {
        Ok(after) => violations.or(after),
        Err(others) => {
            violations.0.extend(others.0);
            Err(violations)
        }
    }
}
