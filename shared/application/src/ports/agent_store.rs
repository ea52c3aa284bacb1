use async_trait::async_trait;
use domain::{
    AgentChange, AgentId, Beat, Candidate, JobId, RegisteredAgent, RoutedOffer, TenantId,
    Timestamp, Violations, WorkerRef,
};

use super::{Claimed, KeyHash, LeaseError, StoreError};

/// How many agents a tenant may have, and how many may be shared: routing looks at all of them.
pub const AGENTS_MAX: u32 = 500;

/// From an agent's id and its [generation](RegisteredAgent::generation) to the hash of its token: which of both it is
/// stored under is known to the store first.
pub type TokenHasher = dyn Fn(AgentId, u32) -> KeyHash + Send + Sync;

/// Registered agents. A tenant sees its own and the shared ones; `owner` is a tenant, or `None` for the shared ones, and
/// whoever owns an agent is the only one who changes it.
///
/// An agent's row is locked after jobs and before nothing: who has it asks for no other lock but those of further agents,
/// by id.
#[async_trait]
pub trait AgentStore: Send + Sync {
    /// Stores a new agent. With a token it is an external one, and one that its owner has under this name already takes
    /// its place ([`RegisteredAgent::registered_again`]): it keeps its id, and the token before is worth nothing any more.
    /// `token` is asked for the id and the generation that are stored.
    async fn register_agent(
        &self,
        agent: RegisteredAgent,
        token: Option<&TokenHasher>,
    ) -> Result<RegisteredAgent, AgentError>;

    /// One that the tenant may use.
    async fn agent(&self, tenant: TenantId, id: AgentId) -> Result<Option<Candidate>, StoreError>;

    /// The tenant's own before a shared one.
    async fn agent_by_name(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<Candidate>, StoreError>;

    /// Those that the tenant may use, by name and id, beyond `after`, at most `limit`.
    async fn agents(
        &self,
        tenant: TenantId,
        after: Option<(String, AgentId)>,
        limit: u32,
    ) -> Result<Vec<Candidate>, StoreError>;

    /// [`RegisteredAgent::change`] on the locked row. With `expected`, only if it is still at that version. `Ok(None)`: the
    /// owner has no such agent.
    async fn change_agent(
        &self,
        owner: Option<TenantId>,
        id: AgentId,
        change: AgentChange,
        expected: Option<i64>,
        now: Timestamp,
    ) -> Result<Option<RegisteredAgent>, AgentError>;

    /// The agent is gone; what it works on goes on to its end. False: the owner has no such agent.
    async fn remove_agent(&self, owner: Option<TenantId>, id: AgentId) -> Result<bool, StoreError>;

    /// A lookup without a tenant: it says whose heartbeat it is. `None`: no such agent, or not an external one.
    async fn agent_token(&self, id: AgentId) -> Result<Option<KeyHash>, StoreError>;

    /// Those that are given their tasks, whosever they are, by id beyond `after`, at most `limit`: for who asks them how
    /// they are.
    async fn agents_with_endpoint(
        &self,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<RegisteredAgent>, StoreError>;

    /// Agents that failed at a session of the tenant, ever, and the one that works on it now.
    async fn agents_tried(
        &self,
        tenant: TenantId,
        session: JobId,
    ) -> Result<Vec<AgentId>, StoreError>;

    /// CLAIM of sessions that are routed. One transaction: the worker's lease is checked, and sessions that wait, the
    /// tenants with the fewest runs for their weight first (or drawn by lot, as the offer says), are given the agents that suit them best among those that the
    /// worker runs, within quotas, capacities and breakers; each takes a slot of its agent until its run ends. The jobs
    /// come as they are to be run: with their agent's spec.
    async fn claim_routed(
        &self,
        worker: WorkerRef,
        offer: RoutedOffer,
        now: Timestamp,
    ) -> Result<Claimed, LeaseError>;

    /// Keeps an external agent's heartbeat, unless a later one is there already. False: it is gone.
    async fn beat(&self, id: AgentId, beat: Beat) -> Result<bool, StoreError>;

    /// The agent asks for its tasks or reports: [`domain::Condition::heard`]. Most calls change nothing, and lock nothing.
    async fn heard(&self, id: AgentId, now: Timestamp) -> Result<(), StoreError>;
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("an agent with the name `{0}` exists already")]
    NameTaken(String),
    #[error("there are {AGENTS_MAX} agents and there may not be more")]
    TooMany,
    /// Somebody else changed it meanwhile.
    #[error("the agent is at version {0} now")]
    VersionMoved(i64),
    #[error(transparent)]
    Invalid(#[from] Violations),
    #[error(transparent)]
    Store(#[from] StoreError),
}
