//! What routing is asked, and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Rejected, RouteRequest, Routing, Scored, Violations};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::new_job::{labels, labels_once};
use super::text::check_object;

/// Of agents that do not get a task: enough to see what would have to change.
const REJECTED_SHOWN: usize = 10;

/// What a task asks of an agent.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RouteRequest)]
pub(crate) struct RouteBody {
    /// All of them, at most 50.
    #[serde(default)]
    #[schema(example = json!(["code_review"]))]
    pub capabilities: BTreeSet<String>,
    /// At least this tier; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_tier: Option<u8>,
    /// Labels that it must have, all of them.
    #[serde(
        default,
        deserialize_with = "labels_once",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub agent_labels: BTreeMap<String, String>,
    /// An agent's id or name: it is given 0.3 more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_agent: Option<String>,
    /// A kind of agents: they are given 0.2 more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "opencode")]
    pub preferred_kind: Option<String>,
    /// Files of the worktree that an agent which works elsewhere is handed, as relative paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// What kind of work it is, in words that an agent which works elsewhere knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Handed to an agent which works elsewhere as it is.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub input_data: Map<String, Value>,
}

impl RouteBody {
    /// What is wrong with values that exist is found by the domain.
    pub fn into_request(self, violations: &mut Violations) -> RouteRequest {
        let kind = self.preferred_kind.and_then(|kind| match kind.parse() {
            Ok(kind) => Some(kind),
            Err(error) => {
                let error: domain::UnknownRegisteredKind = error;
                violations.add("/preferred_kind", error.to_string());
                None
            }
        });
        check_object("/input_data", &self.input_data, violations);
        RouteRequest {
            capabilities: self.capabilities,
            min_tier: self.min_tier.unwrap_or_default(),
            labels: labels(self.agent_labels),
            preferred_agent: self.preferred_agent,
            preferred_kind: kind,
            files: self.files,
            task_type: self.task_type,
            input_data: self.input_data,
        }
    }
}

impl From<RouteRequest> for RouteBody {
    fn from(request: RouteRequest) -> Self {
        Self {
            capabilities: request.capabilities,
            min_tier: (request.min_tier > 0).then_some(request.min_tier),
            agent_labels: request.labels.0,
            preferred_agent: request.preferred_agent,
            preferred_kind: request.preferred_kind.map(|kind| kind.to_string()),
            files: request.files,
            task_type: request.task_type,
            input_data: request.input_data,
        }
    }
}

/// Where a task would go now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Routing)]
pub(crate) struct RoutingBody {
    /// Null when nobody could take it now.
    pub choice: Option<ScoredBody>,
    /// The next best, at most three.
    pub alternatives: Vec<ScoredBody>,
    /// The whole of it in a sentence.
    pub reason: String,
    /// Other agents and why they do not get it, at most ten: those that suit and are not free first, then those that lack
    /// the least.
    pub rejected: Vec<RejectedBody>,
    /// How many others there are beside those.
    pub rejected_more: usize,
}

/// An agent that would do. `score` is 0.4 `tier` + 0.3 `capability` + 0.2 `load` + 0.1 `availability` + `preferred`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScoredAgent)]
pub(crate) struct ScoredBody {
    pub agent_id: Uuid,
    pub name: String,
    pub kind: String,
    pub score: f64,
    pub parts: PartsBody,
}

/// Each from 0 to 1.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScoreParts)]
pub(crate) struct PartsBody {
    /// Its tier, divided by 5.
    pub tier: f64,
    /// The share of its capabilities that is asked for; 1 where nothing is asked for.
    pub capability: f64,
    /// What is free of it, by slots or by what it reports, whichever is less.
    pub load: f64,
    /// Its rate of success; half of that when it is degraded, and when its breaker is not closed.
    pub availability: f64,
    /// 0.2 for the preferred kind and 0.3 for the preferred agent.
    pub preferred: f64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RejectedAgent)]
pub(crate) struct RejectedBody {
    pub agent_id: Uuid,
    pub name: String,
    pub reason: String,
}

impl From<Routing> for RoutingBody {
    fn from(routing: Routing) -> Self {
        let reason = routing.reason();
        let rejected_more = routing.rejected.len().saturating_sub(REJECTED_SHOWN);
        Self {
            choice: routing.choice.map(ScoredBody::from),
            alternatives: routing
                .alternatives
                .into_iter()
                .map(ScoredBody::from)
                .collect(),
            reason,
            rejected: routing
                .rejected
                .into_iter()
                .take(REJECTED_SHOWN)
                .map(RejectedBody::from)
                .collect(),
            rejected_more,
        }
    }
}

impl From<Scored> for ScoredBody {
    fn from(scored: Scored) -> Self {
        let parts = scored.parts;
        Self {
            agent_id: scored.agent.as_uuid(),
            name: scored.name,
            kind: scored.kind.to_string(),
            score: scored.score,
            parts: PartsBody {
                tier: parts.tier,
                capability: parts.capability,
                load: parts.load,
                availability: parts.availability,
                preferred: parts.preferred,
            },
        }
    }
}

impl From<Rejected> for RejectedBody {
    fn from(rejected: Rejected) -> Self {
        Self {
            agent_id: rejected.agent.as_uuid(),
            name: rejected.name,
            reason: rejected.why.to_string(),
        }
    }
}
