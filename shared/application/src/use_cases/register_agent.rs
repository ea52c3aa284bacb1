//! An agent becomes one that work can be routed to.

use domain::{AgentDefinition, AgentId, RegisteredAgent, TenantId, Violations};

use super::authenticate::{SECRET_BYTES, hash};
use crate::agent_tokens::{AgentTokens, TOKEN_PREFIX};
use crate::outbound::OutboundPolicy;
use crate::ports::{AgentError, Ports};

const NO_SECRET: &str = "cannot be used: this server has no secret to make the token of, with which tasks are given to \
    the agent. The operator sets ORCHESTRATOR_AGENT_SECRET (or ORCHESTRATOR_AGENT_SECRET_FILE) to the same text for all \
    producers and workers; without an endpoint_url the agent can be registered as it is";

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

/// One that is a service of its own. Returns it with its token, which is shown this once. An agent that is given its tasks
/// gets a token of `tokens`, which workers can make again; another one gets a random one.
pub async fn register_external(
    ports: &Ports,
    owner: Option<TenantId>,
    definition: AgentDefinition,
    (policy, tokens): (&OutboundPolicy, Option<&AgentTokens>),
) -> Result<(RegisteredAgent, String), RegisterError> {
    let agent = new(ports, owner, definition)?;
    let url = agent.external().and_then(|it| it.endpoint_url.as_deref());
    let Some(url) = url else {
        let token = random_token()?;
        let hash = hash(&token);
        let hasher = move |_, _| hash;
        let agent = ports.agents.register_agent(agent, Some(&hasher)).await?;
        return Ok((agent, token));
    };
    let tokens = tokens.ok_or_else(|| at_endpoint(NO_SECRET))?;
    policy
        .check(url)
        .await
        .map_err(|error| at_endpoint(&error.to_string()))?;
    let hasher = {
        let tokens = tokens.clone();
        move |agent, generation| tokens.hash(agent, generation)
    };
    let agent = ports.agents.register_agent(agent, Some(&hasher)).await?;
    let token = tokens.token(agent.id, agent.generation());
    Ok((agent, token))
}

fn random_token() -> Result<String, RegisterError> {
    let mut secret = [0_u8; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| RegisterError::NoRandomness(error.to_string()))?;
    Ok(format!("{TOKEN_PREFIX}{}", hex::encode(secret)))
}

fn at_endpoint(why: &str) -> Violations {
    let mut violations = Violations::default();
    violations.add("/endpoint_url", why);
    violations
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
