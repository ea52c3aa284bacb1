//! How well an agent suits a task: four parts from 0 to 1, weighed, and a bonus for what is preferred.

use serde::Serialize;

use super::condition::AgentStatus;
use super::definition::{RegisteredAgent, TIER_MAX};
use super::route::{Candidate, RouteRequest};
use super::{Breaker, RegisteredKind};
use crate::{AgentId, Timestamp};

/// What each part counts. The four sum to 1; a preference is added to that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    pub tier: f64,
    pub capability: f64,
    pub load: f64,
    pub availability: f64,
    pub preferred_kind: f64,
    pub preferred_agent: f64,
}

pub const WEIGHTS: Weights = Weights {
    tier: 0.4,
    capability: 0.3,
    load: 0.2,
    availability: 0.1,
    preferred_kind: 0.2,
    preferred_agent: 0.3,
};

/// Each from 0 to 1, not weighed yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Parts {
    /// `tier / 5`.
    pub tier: f64,
    /// Of what the agent can do, the share that is asked for: specialists go first. 1 where nothing is asked for.
    pub capability: f64,
    /// What is free: 1 less the greater of slots in use by capacity and the load that it reports.
    pub load: f64,
    /// Its rate of success, halved when it says that it is degraded, and halved while its breaker is being probed.
    pub availability: f64,
    /// The bonus: 0.2 for the preferred kind, 0.3 for the preferred agent, 0.5 for both.
    pub preferred: f64,
}

/// An agent that would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    pub agent: AgentId,
    pub name: String,
    pub kind: RegisteredKind,
    /// To a millionth.
    pub score: f64,
    pub parts: Parts,
    pub cost_usd: Option<f64>,
}

pub(super) fn score(request: &RouteRequest, candidate: &Candidate, now: Timestamp) -> Scored {
    let agent = &candidate.agent;
    let parts = Parts {
        tier: f64::from(agent.definition.tier) / f64::from(TIER_MAX),
        capability: capability(request, agent),
        load: 1.0 - load(candidate, now),
        availability: availability(agent),
        preferred: preferred(request, agent),
    };
    Scored {
        agent: agent.id,
        name: agent.definition.name.clone(),
        kind: agent.kind(),
        score: rounded(
            parts.tier * WEIGHTS.tier
                + parts.capability * WEIGHTS.capability
                + parts.load * WEIGHTS.load
                + parts.availability * WEIGHTS.availability
                + parts.preferred,
        ),
        parts,
        cost_usd: agent.definition.cost_usd,
    }
}

/// To a millionth: what floating point adds below that must neither decide between equal agents nor be shown.
fn rounded(score: f64) -> f64 {
    (score * 1e6).round() / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "at most fifty each")]
fn capability(request: &RouteRequest, agent: &RegisteredAgent) -> f64 {
    let (asked, has) = (
        request.capabilities.len(),
        agent.definition.capabilities.len(),
    );
    if asked == 0 || has == 0 {
        return 1.0;
    }
    (asked as f64 / has as f64).min(1.0)
}

fn load(candidate: &Candidate, now: Timestamp) -> f64 {
    let definition = &candidate.agent.definition;
    let used = f64::from(candidate.in_use) / f64::from(definition.capacity.max(1));
    let beat = candidate.agent.condition.beat.as_ref();
    let reported = beat
        .filter(|beat| beat.is_fresh(now))
        .map_or(0.0, |beat| beat.load);
    used.max(reported).clamp(0.0, 1.0)
}

fn availability(agent: &RegisteredAgent) -> f64 {
    let condition = &agent.condition;
    let degraded = condition
        .beat
        .as_ref()
        .is_some_and(|beat| beat.status == AgentStatus::Degraded);
    let probed = !matches!(condition.breaker, Breaker::Closed { .. });
    let halved = |yes: bool| if yes { 0.5 } else { 1.0 };
    condition.success_rate.clamp(0.0, 1.0) * halved(degraded) * halved(probed)
}

fn preferred(request: &RouteRequest, agent: &RegisteredAgent) -> f64 {
    let kind = request.preferred_kind == Some(agent.kind());
    let this = request.prefers(agent);
    let bonus = |yes: bool, of: f64| if yes { of } else { 0.0 };
    bonus(kind, WEIGHTS.preferred_kind) + bonus(this, WEIGHTS.preferred_agent)
}
