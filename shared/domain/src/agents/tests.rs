//! The rules about registered agents, one file a subject; here is what they share.

mod condition;
mod definition;
mod route;
mod score;

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::{
    AgentId, AgentSpec, Eap, JobId, JobKind, Labels, QueueKey, TenantId, Timestamp, Violations,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn id(n: u128) -> AgentId {
    AgentId::from_uuid(Uuid::from_u128(n))
}

/// `caps` by spaces; a worker's agent of capacity 4.
fn candidate(n: u128, name: &str, tier: u8, caps: &str) -> Candidate {
    let definition = AgentDefinition {
        name: name.to_owned(),
        capabilities: caps.split_whitespace().map(str::to_owned).collect(),
        tier,
        capacity: 4,
        labels: Labels::default(),
        cost_usd: None,
        work: AgentWork::Worker(AgentSpec::ECHO),
    };
    Candidate {
        agent: RegisteredAgent::new(id(n), None, definition, NOW).unwrap(),
        in_use: 0,
    }
}

fn external(n: u128, name: &str, beat: Option<Beat>) -> Candidate {
    let mut candidate = candidate(n, name, 3, "testing");
    candidate.agent.definition.work = AgentWork::External(ExternalAgent {
        endpoint_url: None,
        version: "1".to_owned(),
        agent_type: "test".to_owned(),
        metadata: serde_json::Map::new(),
        generation: 1,
    });
    candidate.agent.condition.beat = beat;
    candidate
}

fn beat(status: AgentStatus, load: f64, seconds_ago: u64) -> Beat {
    Beat {
        at: NOW - Duration::from_secs(seconds_ago),
        status,
        load,
        tasks_in_progress: 0,
        metrics: serde_json::Map::new(),
        probed: false,
    }
}

fn asks(caps: &str) -> RouteRequest {
    RouteRequest {
        capabilities: caps.split_whitespace().map(str::to_owned).collect(),
        ..RouteRequest::default()
    }
}

const ANYWHERE: RouteContext<'static> = RouteContext {
    kinds: None,
    failed: &[],
    now: NOW,
};

fn chosen(routing: &Routing) -> Option<&str> {
    routing.choice.as_ref().map(|choice| choice.name.as_str())
}

fn refused(request: &RouteRequest, candidate: Candidate) -> Refusal {
    let routing = route(request, &[candidate], ANYWHERE);
    assert_eq!(routing.choice, None);
    routing.rejected[0].why.clone()
}
