//! An agent becomes one that work can be routed to.

use domain::{AgentDefinition, AgentId, AgentWork, RegisteredAgent, TenantId, Violations};

use super::authenticate::{SECRET_BYTES, hash};
use crate::outbound::OutboundPolicy;
use crate::ports::{AgentError, Ports};

/// What a token begins with, so that one that leaks is known for what it is.
const TOKEN_PREFIX: &str = "ora_";

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("the system has no random numbers to give: {0}")]
    NoRandomness(String),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl From<Violations> for RegisterError {
    fn from(violations: Violations) -> Self {
        Self::Agent(violations.into())
    }
}

/// One that workers run. `owner`: a tenant, or `None` for all.
pub async fn register_agent(
    ports: &Ports,
    owner: Option<TenantId>,
    definition: AgentDefinition,
) -> Result<RegisteredAgent, RegisterError> {
    let agent = new(ports, owner, definition)?;
    Ok(ports.agents.register_agent(agent, None).await?)
}

/// One that is a service of its own. Returns it with its token, which is shown this once.
pub async fn register_external(
    ports: &Ports,
    owner: Option<TenantId>,
    definition: AgentDefinition,
    policy: &OutboundPolicy,
) -> Result<(RegisteredAgent, String), RegisterError> {
    let agent = new(ports, owner, definition)?;
    if let AgentWork::External(external) = &agent.definition.work
        && let Some(url) = &external.endpoint_url
        && let Err(error) = policy.check(url).await
    {
        let mut violations = Violations::default();
        violations.add("/endpoint_url", error.to_string());
        return Err(violations.into());
    }
    let mut secret = [0_u8; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| RegisterError::NoRandomness(error.to_string()))?;
    let token = format!("{TOKEN_PREFIX}{}", hex::encode(secret));
    let agent = ports
        .agents
        .register_agent(agent, Some(hash(&token)))
        .await?;
    Ok((agent, token))
}

fn new(
    ports: &Ports,
    owner: Option<TenantId>,
    definition: AgentDefinition,
) -> Result<RegisteredAgent, Violations> {
    let now = ports.clock.now();
    let id = AgentId::from_uuid(ports.ids.next(now));
    RegisteredAgent::new(id, owner, definition, now)
}
