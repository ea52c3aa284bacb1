//! What whoever registers an agent says of it, checked before it is stored.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::capability::is_capability;
use super::condition::Condition;
use crate::{AgentId, AgentKind, AgentSpec, External, Labels, TenantId, Timestamp, Violations};

/// Tiers go from 1, for plain work, to this, for the hardest; who registers an agent judges.
pub const TIER_MAX: u8 = 5;
const NAME_MAX: usize = 63;
pub(super) const CAPABILITIES_MAX: usize = 50;
/// Tasks of one agent at once.
pub const CAPACITY_MAX: u64 = 1_000;
const COST_MAX: f64 = 1_000_000.0;
const METADATA_BYTES_MAX: usize = 4096;
const URL_MAX: usize = 2048;

/// An agent that work can be routed to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisteredAgent {
    pub id: AgentId,
    /// `None`: every tenant may use it.
    pub tenant: Option<TenantId>,
    pub definition: AgentDefinition,
    /// Gets nothing new; what it works on goes on.
    pub draining: bool,
    pub condition: Condition,
    /// Rises with every change by a person; what `ETag` shows.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentDefinition {
    /// Unique among its tenant's, or among the shared ones.
    pub name: String,
    pub capabilities: BTreeSet<String>,
    pub tier: u8,
    /// Tasks at once.
    pub capacity: u32,
    #[serde(default)]
    pub labels: Labels,
    /// What a task costs in dollars, about; of equals the cheaper one is chosen.
    #[serde(default)]
    pub cost_usd: Option<f64>,
    pub work: AgentWork,
}

/// How an agent is made to work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentWork {
    /// A worker runs this.
    Worker(AgentSpec),
    /// A service of its own.
    External(ExternalAgent),
}

/// What an external agent said when it registered itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExternalAgent {
    /// Where it takes tasks; absent for one that asks for them itself.
    #[serde(default)]
    pub endpoint_url: Option<String>,
    /// The agent's own version.
    pub version: String,
    pub agent_type: String,
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// How often it has registered, counted here and not by the agent: each time it gets another token.
    #[serde(default)]
    pub generation: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisteredKind {
    Echo,
    Command,
    #[serde(rename = "opencode")]
    OpenCode,
    /// Elsewhere, and workers know where.
    Eap,
    External,
}

/// The text names no kind of registered agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of registered agent; use echo, command, opencode, eap or external")]
pub struct UnknownRegisteredKind(pub String);

impl RegisteredKind {
    pub const ALL: [Self; 5] = [
        Self::Echo,
        Self::Command,
        Self::OpenCode,
        Self::Eap,
        Self::External,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Command => "command",
            Self::OpenCode => "opencode",
            Self::Eap => "eap",
            Self::External => "external",
        }
    }
}

impl From<AgentKind> for RegisteredKind {
    fn from(kind: AgentKind) -> Self {
        match kind {
            AgentKind::Echo => Self::Echo,
            AgentKind::Command => Self::Command,
            AgentKind::OpenCode => Self::OpenCode,
            AgentKind::Eap => Self::Eap,
            // Nobody runs the latter as such: what is asked for may be a service elsewhere.
            AgentKind::External | AgentKind::Routed => Self::External,
        }
    }
}

impl fmt::Display for RegisteredKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RegisteredKind {
    type Err = UnknownRegisteredKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownRegisteredKind(text.chars().take(64).collect()))
    }
}

/// What to change; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentChange {
    pub capabilities: Option<BTreeSet<String>>,
    pub tier: Option<u8>,
    pub capacity: Option<u32>,
    pub labels: Option<Labels>,
    pub cost_usd: Option<f64>,
    pub work: Option<AgentWork>,
    pub draining: Option<bool>,
}

impl RegisteredAgent {
    pub fn new(
        id: AgentId,
        tenant: Option<TenantId>,
        mut definition: AgentDefinition,
        now: Timestamp,
    ) -> Result<Self, Violations> {
        definition.check()?;
        if let AgentWork::External(external) = &mut definition.work {
            external.generation = 1;
        }
        Ok(Self {
            id,
            tenant,
            definition,
            draining: false,
            condition: Condition::default(),
            version: 1,
            created_at: now,
            updated_at: now,
        })
    }

    /// An external agent that registers under its name once more: what it says of itself counts anew, what others said
    /// of it (tier, labels, cost, draining) and how it fared stay.
    pub fn registered_again(
        mut self,
        said: AgentDefinition,
        now: Timestamp,
    ) -> Result<Self, Violations> {
        self.definition.capabilities = said.capabilities;
        self.definition.capacity = said.capacity;
        let generation = self.generation().saturating_add(1);
        self.definition.work = said.work;
        if let AgentWork::External(external) = &mut self.definition.work {
            external.generation = generation;
        }
        self.version += 1;
        self.updated_at = now;
        self.definition.check()?;
        Ok(self)
    }

    pub fn kind(&self) -> RegisteredKind {
        match &self.definition.work {
            AgentWork::Worker(spec) => spec.kind().into(),
            AgentWork::External(_) => RegisteredKind::External,
        }
    }

    /// Of an external agent.
    pub const fn external(&self) -> Option<&ExternalAgent> {
        match &self.definition.work {
            AgentWork::External(external) => Some(external),
            AgentWork::Worker(_) => None,
        }
    }

    /// How often an external agent has registered; 0 for those that workers run.
    pub fn generation(&self) -> u32 {
        self.external().map_or(0, |external| external.generation)
    }

    /// What a worker runs for it.
    pub fn spec(&self) -> AgentSpec {
        match &self.definition.work {
            AgentWork::Worker(spec) => spec.clone(),
            AgentWork::External(external) => AgentSpec::External(External {
                agent: self.id,
                name: self.definition.name.clone(),
                endpoint_url: external.endpoint_url.clone(),
                task_type: None,
                files: Vec::new(),
                input_data: Map::new(),
            }),
        }
    }

    /// The agent after `change`. A worker's agent never becomes an external one, nor the other way round.
    pub fn change(mut self, change: AgentChange, now: Timestamp) -> Result<Self, Violations> {
        let definition = &mut self.definition;
        if let Some(capabilities) = change.capabilities {
            definition.capabilities = capabilities;
        }
        definition.tier = change.tier.unwrap_or(definition.tier);
        definition.capacity = change.capacity.unwrap_or(definition.capacity);
        if let Some(labels) = change.labels {
            definition.labels = labels;
        }
        definition.cost_usd = change.cost_usd.or(definition.cost_usd);
        if let Some(work) = change.work {
            let external = |work: &AgentWork| matches!(work, AgentWork::External(_));
            if external(&work) != external(&definition.work) {
                let mut violations = Violations::default();
                violations.add(
                    "/agent",
                    "an external agent stays one, and a worker's agent stays one; register another agent instead",
                );
                return Err(violations);
            }
            definition.work = work;
        }
        self.draining = change.draining.unwrap_or(self.draining);
        self.version += 1;
        self.updated_at = now;
        self.definition.check()?;
        Ok(self)
    }
}

impl AgentDefinition {
    fn check(&self) -> Result<(), Violations> {
        let mut violations = Violations::default();
        let name = &self.name;
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(in_name) {
            violations.add(
                "/name",
                "must be 1 to 63 characters of a-z, A-Z, 0-9, `_`, `-` and `.`",
            );
        }
        check_capabilities(&self.capabilities, &mut violations);
        violations.range("/tier", self.tier.into(), 1, TIER_MAX.into());
        violations.range("/capacity", self.capacity.into(), 1, CAPACITY_MAX);
        self.labels.check("/labels", &mut violations);
        if let Some(cost) = self.cost_usd
            && !(0.0..=COST_MAX).contains(&cost)
        {
            violations.add("/cost_usd", "must be a number from 0 to 1,000,000");
        }
        match &self.work {
            AgentWork::Worker(spec) => spec.check_template(&mut violations),
            AgentWork::External(external) => external.check(&mut violations),
        }
        violations.or(())
    }
}

impl ExternalAgent {
    fn check(&self, violations: &mut Violations) {
        violations.text("/version", &self.version, 1, 64);
        violations.text("/agent_type", &self.agent_type, 1, 64);
        if let Some(url) = &self.endpoint_url {
            violations.text("/endpoint_url", url, 1, URL_MAX);
        }
        let bytes = serde_json::to_string(&self.metadata).map_or(0, |text| text.len());
        if bytes > METADATA_BYTES_MAX {
            violations.add(
                "/metadata",
                format!("has {bytes} bytes; at most {METADATA_BYTES_MAX} are allowed"),
            );
        }
        violations.no_nul("/metadata", &self.metadata);
    }
}

pub(super) fn check_capabilities(capabilities: &BTreeSet<String>, violations: &mut Violations) {
    if capabilities.len() > CAPABILITIES_MAX {
        let n = capabilities.len();
        violations.add(
            "/capabilities",
            format!("names {n} capabilities; at most {CAPABILITIES_MAX} are allowed"),
        );
    }
    for (index, capability) in capabilities.iter().enumerate() {
        if !is_capability(capability) {
            violations.add(
                format!("/capabilities/{index}"),
                "must be 1 to 64 characters of a-z, 0-9, `_`, `-`, `.` and `:`, the first a letter",
            );
        }
    }
}
