//! A person wants a schedule's job now, and does not wait for the next tick. The ticks go on as if nothing had been.

use domain::{Job, ScheduleId, TenantId, Violations};

use super::fire_schedules::{announce, job};
use crate::ports::{Firing, Ports, Refused, StoreError};

/// Somebody may edit it between reading and firing; more often than that, something is wrong.
const TRIES: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum RunScheduleError {
    #[error(transparent)]
    Invalid(#[from] Violations),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// `Ok(None)`: the tenant has no such schedule. One that is paused, or whose previous job has not ended, runs too.
pub async fn run_schedule(
    ports: &Ports,
    tenant: TenantId,
    id: ScheduleId,
) -> Result<Option<Job>, RunScheduleError> {
    for _ in 0..TRIES {
        let Some(schedule) = ports.schedules.schedule(tenant, id).await? else {
            return Ok(None);
        };
        let now = ports.clock.now();
        let job = job(&*ports.ids, &schedule, None, now)?;
        let firing = Firing {
            tenant,
            schedule: id,
            version: schedule.version,
            tick: None,
            jobs: vec![job.clone()],
            error: None,
            unless_running: false,
        };
        let fired = ports.schedules.fire(firing, now).await?;
        if fired.moved {
            continue;
        }
        if let Some(refused) = fired.refused {
            return Err(refused.into());
        }
        announce(ports, &schedule, fired).await;
        return Ok(Some(job));
    }
    let why = format!("schedule {id} was changed by others {TRIES} times while its job was made");
    Err(StoreError::Unavailable(why).into())
}
