//! Registered agents, as they are registered, changed and shown.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::{
    AgentChange, AgentDefinition, AgentWork, Beat, Breaker, Candidate, RegisteredAgent, Timestamp,
    Violations,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::new_job::{labels, labels_once, some_labels_once};
use super::session_agent::AgentBody;

const DEFAULT_TIER: u8 = 3;
const DEFAULT_CAPACITY: u32 = 1;

/// An agent to register that workers run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAgent)]
pub(crate) struct NewAgentBody {
    /// 1 to 63 of a-z, A-Z, 0-9, `_`, `-` and `.`; unique.
    #[schema(example = "rust-reviewer")]
    pub name: String,
    /// What workers run for it.
    pub agent: AgentBody,
    /// What it can do, at most 50. Well known are `code_editing`, `code_review`, `testing`, `debugging`, `refactoring`,
    /// `documentation`, `planning`, `research`, `data_analysis`, `shell`, `web` and `vision`; others are allowed.
    #[serde(default)]
    #[schema(example = json!(["code_review", "language:rust"]))]
    pub capabilities: BTreeSet<String>,
    /// 1 to 5: how hard the work may be that it is trusted with. Absent: 3.
    pub tier: Option<u8>,
    /// Tasks at once. Absent: 1.
    pub capacity: Option<u32>,
    #[serde(default, deserialize_with = "labels_once")]
    pub labels: BTreeMap<String, String>,
    /// What a task costs in dollars, about; of equals the cheaper one is chosen.
    pub cost_usd: Option<f64>,
    /// For all tenants; needs a system admin.
    #[serde(default)]
    pub shared: bool,
}

/// What to change about an agent; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AgentChange)]
pub(crate) struct AgentChangeBody {
    pub agent: Option<AgentBody>,
    pub capabilities: Option<BTreeSet<String>>,
    pub tier: Option<u8>,
    pub capacity: Option<u32>,
    #[serde(default, deserialize_with = "some_labels_once")]
    pub labels: Option<BTreeMap<String, String>>,
    pub cost_usd: Option<f64>,
}

/// An agent that work can be routed to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegisteredAgent)]
pub(crate) struct RegisteredAgentBody {
    pub id: Uuid,
    pub name: String,
    /// `echo`, `command`, `opencode`, `eap` or `external`.
    pub kind: String,
    /// Every tenant may use it.
    pub shared: bool,
    /// What workers run for it; null for an external agent.
    pub agent: Option<AgentBody>,
    /// Null for one that workers run.
    pub external: Option<ExternalBody>,
    pub capabilities: BTreeSet<String>,
    pub tier: u8,
    pub capacity: u32,
    /// Tasks that it works on now.
    pub in_use: u32,
    pub labels: BTreeMap<String, String>,
    pub cost_usd: Option<f64>,
    /// `active`, or `draining`: it gets nothing new.
    pub state: String,
    /// True when it could be given a task now.
    pub available: bool,
    /// Why not.
    pub unavailable_because: Option<String>,
    /// Of the latest tasks, decaying by a tenth with each; 1 before the first.
    pub success_rate: f64,
    /// Of the latest successful tasks, decaying alike; null before the first.
    pub latency_seconds: Option<f64>,
    /// Of the latest work that was rated, from 0 to 1, decaying alike; null before the first. By checks (`verify`), else by
    /// what the agent said of its work.
    pub quality: Option<f64>,
    /// Tasks that succeeded or failed, ever.
    pub tasks: u64,
    pub breaker: BreakerBody,
    /// The latest heartbeat of an external agent.
    pub heartbeat: Option<HeartbeatBody>,
    /// The same as in the `ETag`.
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// The circuit breaker: three failures in a row open it, a task that succeeds closes it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Breaker)]
pub(crate) struct BreakerBody {
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// While closed: failures since the last success.
    pub failures: Option<u32>,
    /// While open: when it is tried again.
    pub until: Option<DateTime<Utc>>,
}

/// What an external agent said when it registered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExternalAgent)]
pub(crate) struct ExternalBody {
    pub endpoint_url: Option<String>,
    pub version: String,
    pub agent_type: String,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Heartbeat)]
pub(crate) struct HeartbeatBody {
    pub at: DateTime<Utc>,
    /// `healthy`, `degraded`, `busy` or `offline`.
    pub status: String,
    pub current_load: f64,
    pub tasks_in_progress: u32,
    #[schema(value_type = Object)]
    pub metrics: Map<String, Value>,
    /// The server asked at `/health`; it did not beat by itself.
    pub probed: bool,
}

/// A page of agents, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentPage {
    pub items: Vec<RegisteredAgentBody>,
    /// Hand it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl NewAgentBody {
    pub fn into_definition(self) -> Result<AgentDefinition, Violations> {
        let mut violations = Violations::default();
        let spec = self.agent.into_spec(&mut violations);
        let (Some(spec), true) = (spec, violations.0.is_empty()) else {
            return Err(violations);
        };
        Ok(AgentDefinition {
            name: self.name,
            capabilities: self.capabilities,
            tier: self.tier.unwrap_or(DEFAULT_TIER),
            capacity: self.capacity.unwrap_or(DEFAULT_CAPACITY),
            labels: labels(self.labels),
            cost_usd: self.cost_usd,
            work: AgentWork::Worker(spec),
        })
    }
}

impl AgentChangeBody {
    pub fn into_change(self) -> Result<AgentChange, Violations> {
        let mut violations = Violations::default();
        let work = self
            .agent
            .and_then(|agent| agent.into_spec(&mut violations));
        violations.or(AgentChange {
            capabilities: self.capabilities,
            tier: self.tier,
            capacity: self.capacity,
            labels: self.labels.map(labels),
            cost_usd: self.cost_usd,
            work: work.map(AgentWork::Worker),
            draining: None,
        })
    }
}

impl RegisteredAgentBody {
    pub fn of(candidate: Candidate, now: Timestamp) -> Self {
        let unavailable = candidate.unavailable(now);
        let Candidate { agent, in_use } = candidate;
        let kind = agent.kind().to_string();
        let RegisteredAgent {
            definition,
            condition,
            ..
        } = agent;
        let (spec, external) = match definition.work {
            AgentWork::Worker(spec) => (Some(AgentBody::from(spec)), None),
            AgentWork::External(external) => (
                None,
                Some(ExternalBody {
                    endpoint_url: external.endpoint_url,
                    version: external.version,
                    agent_type: external.agent_type,
                    metadata: external.metadata,
                }),
            ),
        };
        Self {
            id: agent.id.as_uuid(),
            name: definition.name,
            kind,
            shared: agent.tenant.is_none(),
            agent: spec,
            external,
            capabilities: definition.capabilities,
            tier: definition.tier,
            capacity: definition.capacity,
            in_use,
            labels: definition.labels.0,
            cost_usd: definition.cost_usd,
            state: if agent.draining { "draining" } else { "active" }.to_owned(),
            available: unavailable.is_none(),
            unavailable_because: unavailable.map(|why| why.to_string()),
            success_rate: condition.success_rate,
            latency_seconds: condition.latency_seconds,
            quality: condition.quality,
            tasks: condition.tasks,
            breaker: condition.breaker.into(),
            heartbeat: condition.beat.map(HeartbeatBody::from),
            version: agent.version,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
        }
    }
}

impl From<Breaker> for BreakerBody {
    fn from(breaker: Breaker) -> Self {
        let state = breaker.as_str().to_owned();
        let (failures, until) = match breaker {
            Breaker::Closed { failures } => (Some(failures), None),
            Breaker::Open { until, .. } => (None, Some(until)),
            Breaker::HalfOpen { .. } => (None, None),
        };
        Self {
            state,
            failures,
            until,
        }
    }
}

impl From<Beat> for HeartbeatBody {
    fn from(beat: Beat) -> Self {
        Self {
            at: beat.at,
            status: beat.status.to_string(),
            current_load: beat.load,
            tasks_in_progress: beat.tasks_in_progress,
            metrics: beat.metrics,
            probed: beat.probed,
        }
    }
}
