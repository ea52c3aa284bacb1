//! An external agent asks for its tasks, says how far it is, and hands over what it made; with the token that it got when
//! it registered.

use std::time::Duration;

use domain::{AgentId, TaskKey, TaskLease, TaskLeaseId, TaskReport};

use super::agent_heartbeat::{HeartbeatError, check_token};
use crate::ports::{LeasedTask, Ports, StoreError, TaskError, TaskHolder};

/// Between looks for a task; each next one is half as much later, since most who wait do so for long.
const LOOK_FIRST: Duration = Duration::from_millis(250);
const LOOK_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Of the agent or its token.
    #[error(transparent)]
    Agent(#[from] HeartbeatError),
    #[error(transparent)]
    Task(#[from] TaskError),
}

impl From<StoreError> for PullError {
    fn from(error: StoreError) -> Self {
        Self::Task(error.into())
    }
}

/// Whoever speaks with the agent's token is the agent, and lives: no beat is needed to know that.
async fn hear(ports: &Ports, agent: AgentId, token: &str) -> Result<(), PullError> {
    check_token(ports, agent, token).await?;
    Ok(ports.agents.heard(agent, ports.clock.now()).await?)
}

/// Waits up to `wait` for a task, and not beyond `leave`. `None`: there is none.
pub async fn lease_task(
    ports: &Ports,
    agent: AgentId,
    token: &str,
    wait: Duration,
    leave: impl Future<Output = ()>,
) -> Result<Option<LeasedTask>, PullError> {
    hear(ports, agent, token).await?;
    let give_up = async {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = leave => {}
        }
    };
    tokio::pin!(give_up);
    let mut pause = LOOK_FIRST;
    loop {
        // It may have registered anew meanwhile: its old token is worth nothing from then on.
        check_token(ports, agent, token).await?;
        let now = ports.clock.now();
        let id = TaskLeaseId::from_uuid(ports.ids.next(now));
        // Nobody drops it half-way: what is leased is told.
        if let Some(leased) = ports.agent_tasks.lease_task(agent, id, now).await? {
            return Ok(Some(leased));
        }
        tokio::select! {
            () = &mut give_up => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 3 / 2).min(LOOK_MAX);
    }
}

/// Returns the lease as it is renewed.
pub async fn report_task(
    ports: &Ports,
    (agent, token): (AgentId, &str),
    key: TaskKey,
    lease: TaskLeaseId,
    report: TaskReport,
) -> Result<TaskLease, PullError> {
    hear(ports, agent, token).await?;
    let by = TaskHolder { agent, key, lease };
    let now = ports.clock.now();
    Ok(ports.agent_tasks.report_task(by, report, now).await?)
}

/// `result` is JSON in the protocol's form.
pub async fn end_task(
    ports: &Ports,
    (agent, token): (AgentId, &str),
    key: TaskKey,
    lease: TaskLeaseId,
    result: String,
) -> Result<(), PullError> {
    hear(ports, agent, token).await?;
    let by = TaskHolder { agent, key, lease };
    let now = ports.clock.now();
    Ok(ports.agent_tasks.end_task(by, result, now).await?)
}
