//! Dead letters are queued again: all that match, a step at a time.

use domain::{DeadLetterFilter, Replay, ReplayId, ReplayState, TenantId};

use super::Dispatcher;
use crate::ports::{Ports, Signal, StoreError};

/// Jobs queued again in one transaction.
const STEP_JOBS: u32 = 200;

/// Asks for a replay of what matches now; workers carry it out.
pub async fn replay_dead_letters(
    ports: &Ports,
    tenant: TenantId,
    filter: DeadLetterFilter,
) -> Result<Replay, StoreError> {
    let matched = ports
        .replays
        .count_dead_letters(tenant, filter.clone())
        .await?;
    let now = ports.clock.now();
    let id = ReplayId::from_uuid(ports.ids.next(now));
    let replay = Replay::new(id, tenant, filter, matched, now);
    ports.replays.create_replay(replay.clone()).await?;
    Ok(replay)
}

/// Carries a running replay on by one step; the relay has something to send then. True when there may be more to do
/// at once: by this replay, or, if it is held up, by others.
pub async fn step_replay(ports: &Ports) -> Result<bool, StoreError> {
    let now = ports.clock.now();
    let Some(step) = ports.replays.step_replay(STEP_JOBS, now).await? else {
        return Ok(false);
    };
    let dispatcher = Dispatcher::new(ports.clone());
    let signals = step.jobs.iter().map(|job| Signal::JobChanged {
        tenant: job.tenant,
        job: job.id,
    });
    let signals = signals.collect();
    dispatcher.note(&step.slots).await;
    dispatcher.signal(signals).await;
    if step.replay.state == ReplayState::Completed {
        let (replay, jobs) = (step.replay.id, step.replay.replayed);
        tracing::info!(%replay, jobs, "a replay of dead letters is complete");
    }
    Ok(true)
}
