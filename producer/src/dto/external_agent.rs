//! The External Agent Protocol's words for registering and beating.

use std::collections::BTreeSet;

use domain::{
    AgentDefinition, AgentStatus, AgentWork, CAPACITY_MAX, ExternalAgent, HEARTBEAT_INTERVAL,
    Labels, Violations,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::check_object;

const PROTOCOL_VERSION: &str = "1.0";
/// Until somebody who knows the agent says otherwise.
const TIER: u8 = 3;

/// An external agent that registers itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewExternalAgent {
    /// `1.0`.
    #[schema(example = "1.0")]
    pub protocol_version: String,
    /// A-Z, 0-9, `_` and `-`; unique. Who registers under the same name again gets a new token for the same agent.
    #[schema(example = "REVIEWER-1")]
    pub name: String,
    /// The agent's own version.
    pub version: String,
    pub agent_type: String,
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
    /// Where it takes tasks, if it does; must be a public address or one that the operator allows. Needs a server with a
    /// secret for tokens (`ORCHESTRATOR_AGENT_SECRET`).
    pub endpoint_url: Option<String>,
    pub max_concurrent_tasks: u32,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

/// The agent's id, and the token that it sends as `X-Agent-Token`; shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisteredExternalAgent {
    pub agent_id: Uuid,
    /// `registered`: it gets work after its first heartbeat.
    pub status: &'static str,
    pub auth_token: String,
    pub heartbeat_interval_seconds: u64,
}

/// How an external agent is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewHeartbeat {
    /// `healthy`, `degraded`, `busy` or `offline`; the last two get no new tasks.
    #[schema(example = "healthy")]
    pub status: String,
    /// 0 idle, 1 full.
    pub current_load: f64,
    pub tasks_in_progress: u32,
    /// Shown to people; at most 4 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metrics: Map<String, Value>,
}

impl NewExternalAgent {
    pub fn into_definition(self) -> Result<AgentDefinition, Violations> {
        let mut violations = Violations::default();
        if self.protocol_version != PROTOCOL_VERSION {
            violations.add(
                "/protocol_version",
                format!("is not understood; this server speaks {PROTOCOL_VERSION}"),
            );
        }
        let in_name =
            |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if !self.name.chars().all(in_name) {
            violations.add("/name", "must be made of A-Z, 0-9, `_` and `-`");
        }
        // By this name, and not by that of an agent that workers run.
        let capacity = u64::from(self.max_concurrent_tasks);
        violations.range("/max_concurrent_tasks", capacity, 1, CAPACITY_MAX);
        check_object("/metadata", &self.metadata, &mut violations);
        violations.or(AgentDefinition {
            name: self.name,
            capabilities: self.capabilities,
            tier: TIER,
            capacity: self.max_concurrent_tasks,
            labels: Labels::default(),
            cost_usd: None,
            work: AgentWork::External(ExternalAgent {
                endpoint_url: self.endpoint_url,
                version: self.version,
                agent_type: self.agent_type,
                metadata: self.metadata,
                generation: 0,
            }),
        })
    }
}

impl RegisteredExternalAgent {
    pub fn of(agent_id: Uuid, auth_token: String) -> Self {
        Self {
            agent_id,
            status: "registered",
            auth_token,
            heartbeat_interval_seconds: HEARTBEAT_INTERVAL.as_secs(),
        }
    }
}

impl NewHeartbeat {
    pub fn status(&self) -> Result<AgentStatus, Violations> {
        let mut violations = Violations::default();
        check_object("/metrics", &self.metrics, &mut violations);
        violations.or(())?;
        self.status.parse().map_err(|error: domain::UnknownStatus| {
            let mut violations = Violations::default();
            violations.add("/status", error.to_string());
            violations
        })
    }
}
