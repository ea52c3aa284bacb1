//! A person's or client's action on a job: start, cancel, stop, pause, resume, retry.

use domain::{Action, Job, JobId, TenantId};

use super::{Dispatcher, release_jobs};
use crate::ports::{Ports, Signal, SteerError};

/// Does `action` if the job's state allows it. `Ok(None)`: the tenant has no such job.
///
/// A running job is only asked to stop or to pause here; its worker ends it, and is told at once.
pub async fn steer_job(
    ports: &Ports,
    tenant: TenantId,
    job: JobId,
    action: Action,
) -> Result<Option<Job>, SteerError> {
    let now = ports.clock.now();
    let Some(steered) = ports.jobs.steer(tenant, job, action, now).await? else {
        return Ok(None);
    };
    let dispatcher = Dispatcher::new(ports.clone());
    let mut signals = vec![Signal::JobChanged { tenant, job }];
    if let Some(claim) = steered.job.status.claim() {
        let worker = claim.worker;
        if steered.job.stop_requested_at.is_some() {
            signals.push(Signal::StopRequested { worker, job });
        } else if steered.job.pause_requested_at.is_some() {
            signals.push(Signal::PauseRequested { worker, job });
        }
    }
    dispatcher.dispatch(steered.publish, &steered.slots).await;
    dispatcher.signal(signals).await;
    if steered.to_release
        && let Err(error) = release_jobs(ports).await
    {
        tracing::warn!(%error, "jobs whose prerequisites have ended are released by a worker later");
    }
    Ok(Some(steered.job))
}
