//! What an external agent says of itself, with the token that it got when it registered.

use domain::{AgentId, AgentStatus, Beat, Violations};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::authenticate::hash;
use crate::ports::{Ports, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// Never registered, removed, or not an external agent.
    #[error("there is no such external agent")]
    Unknown,
    #[error("the token is not this agent's")]
    WrongToken,
    #[error(transparent)]
    Invalid(#[from] Violations),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Seen by routing as soon as this returns.
pub async fn agent_heartbeat(
    ports: &Ports,
    agent: AgentId,
    token: &str,
    status: AgentStatus,
    load: f64,
    (tasks_in_progress, metrics): (u32, Map<String, Value>),
) -> Result<(), HeartbeatError> {
    check_token(ports, agent, token).await?;
    let beat = Beat {
        at: ports.clock.now(),
        status,
        load,
        tasks_in_progress,
        metrics,
        probed: false,
    };
    beat.check()?;
    if ports.agents.beat(agent, beat).await? {
        Ok(())
    } else {
        Err(HeartbeatError::Unknown)
    }
}

/// The agent is there, and the token is its own.
pub(super) async fn check_token(
    ports: &Ports,
    agent: AgentId,
    token: &str,
) -> Result<(), HeartbeatError> {
    let expected = ports.agents.agent_token(agent).await?;
    let expected = expected.ok_or(HeartbeatError::Unknown)?;
    if bool::from(hash(token).0.ct_eq(&expected.0)) {
        Ok(())
    } else {
        Err(HeartbeatError::WrongToken)
    }
}
