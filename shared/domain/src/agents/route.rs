//! Routing: from what a task asks for and how the agents are now to the one that gets it, and why the others do not.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RegisteredKind;
use super::breaker::Breaker;
use super::condition::{AgentStatus, HEARTBEAT_INTERVAL, HEARTBEATS_MISSED};
use super::definition::{RegisteredAgent, TIER_MAX, check_capabilities};
use super::score::{Scored, score};
use crate::eap::check_handed;
use crate::{AgentId, Labels, TenantId, Timestamp, Violations};

/// Agents that are named beside the choice: enough to see what it was chosen over.
pub const ALTERNATIVES: usize = 3;

/// What a task asks of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRequest {
    /// All of them.
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
    #[serde(default)]
    pub min_tier: u8,
    /// All of them.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// An agent's id or name; it gets a bonus, no privilege.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_kind: Option<RegisteredKind>,
    /// Files of the worktree that an agent which works elsewhere is handed, relative paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// What kind of work it is, in words that an agent which works elsewhere knows; absent: what the agent is registered
    /// with, or `coding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// The session's own words to an agent which works elsewhere, handed over as they are.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub input_data: Map<String, Value>,
}

/// What of a request decides who gets it: all but what is handed over.
pub(super) type Wish<'a> = (
    &'a BTreeSet<String>,
    u8,
    &'a Labels,
    Option<&'a str>,
    Option<RegisteredKind>,
);

impl RouteRequest {
    pub fn check(&self, violations: &mut Violations) {
        check_capabilities(&self.capabilities, violations);
        violations.range("/min_tier", self.min_tier.into(), 0, TIER_MAX.into());
        self.labels.check("/agent_labels", violations);
        if let Some(preferred) = &self.preferred_agent {
            violations.text("/preferred_agent", preferred, 1, 64);
        }
        let task_type = self.task_type.as_deref();
        check_handed("", task_type, &self.files, &self.input_data, violations);
    }

    pub(super) fn wish(&self) -> Wish<'_> {
        (
            &self.capabilities,
            self.min_tier,
            &self.labels,
            self.preferred_agent.as_deref(),
            self.preferred_kind,
        )
    }

    pub(super) fn prefers(&self, agent: &RegisteredAgent) -> bool {
        self.means(agent.id, &agent.definition.name)
    }

    fn means(&self, id: AgentId, name: &str) -> bool {
        let preferred = self.preferred_agent.as_deref();
        preferred.is_some_and(|preferred| preferred == name || preferred.parse() == Ok(id))
    }
}

/// An agent and how much it works on.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub agent: RegisteredAgent,
    /// Slots that are taken.
    pub in_use: u32,
}

/// What beside the request decides.
#[derive(Debug, Clone, Copy)]
pub struct RouteContext<'a> {
    /// Kinds that can be run where the task would be; `None`: all.
    pub kinds: Option<&'a [RegisteredKind]>,
    /// Agents that failed this task already: they get it again only if nobody else would do, now or soon.
    pub failed: &'a [AgentId],
    pub now: Timestamp,
}

/// Why an agent does not get the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    MissingCapabilities(Vec<String>),
    TierTooLow {
        tier: u8,
        least: u8,
    },
    MissingLabels(Labels),
    KindNotRun(RegisteredKind),
    Draining,
    NeverBeat,
    Stale {
        since: Timestamp,
    },
    Busy,
    Offline,
    BreakerOpen {
        until: Timestamp,
    },
    /// Its breaker lets one task through at a time, and one is under way.
    Probed,
    Full {
        capacity: u32,
    },
    FailedThisTask,
}

impl Refusal {
    /// True where time may cure it: the agent suits the task and cannot take it now.
    pub const fn passes(&self) -> bool {
        !matches!(
            self,
            Self::MissingCapabilities(_)
                | Self::TierTooLow { .. }
                | Self::MissingLabels(_)
                | Self::KindNotRun(_)
        )
    }

    /// How far the agent is from the task, to name those first that are near: 0 where time may cure it.
    pub fn distance(&self) -> usize {
        match self {
            Self::KindNotRun(_) | Self::TierTooLow { .. } => 1,
            Self::MissingLabels(labels) => labels.0.len(),
            Self::MissingCapabilities(missing) => 1 + missing.len(),
            _ => 0,
        }
    }

    /// True where the agent is at work, and free again when that ends.
    pub(super) const fn is_at_work(&self) -> bool {
        matches!(self, Self::Busy | Self::Probed | Self::Full { .. })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingCapabilities(missing) => write!(f, "cannot do {}", missing.join(", ")),
            Self::TierTooLow { tier, least } => write!(f, "is of tier {tier}, below {least}"),
            Self::MissingLabels(labels) => write!(f, "does not have the labels {labels}"),
            Self::KindNotRun(kind) => write!(f, "no worker at hand runs agents of kind {kind}"),
            Self::Draining => f.write_str("is draining"),
            Self::NeverBeat => f.write_str("was never heard of since it registered"),
            Self::Stale { since } => write!(
                f,
                "was last heard of at {since}; {HEARTBEATS_MISSED} beats, one every {} s, are missing",
                HEARTBEAT_INTERVAL.as_secs()
            ),
            Self::Busy => f.write_str("says that it is busy"),
            Self::Offline => f.write_str("says that it is offline"),
            Self::BreakerOpen { until } => {
                write!(f, "failed again and again; it is tried again after {until}")
            }
            Self::Probed => f.write_str(
                "failed again and again; one task is under way that shows whether it works again",
            ),
            Self::Full { capacity } => write!(f, "works on as many tasks as it takes, {capacity}"),
            Self::FailedThisTask => f.write_str("failed at this task already"),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    pub agent: AgentId,
    pub name: String,
    pub why: Refusal,
}

/// Where a task would go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routing {
    pub choice: Option<Scored>,
    /// The next best, at most [`ALTERNATIVES`].
    pub alternatives: Vec<Scored>,
    /// The nearest first.
    pub rejected: Vec<Rejected>,
    /// The agent that was preferred is not the choice, for a reason that no score shows: what and why, in words.
    pub not_preferred: Option<String>,
}

impl Routing {
    /// The whole of it in a sentence, for people.
    pub fn reason(&self) -> String {
        let outcome = self.outcome();
        match &self.not_preferred {
            Some(why) => format!("{outcome}; the preferred agent {why}"),
            None => outcome,
        }
    }

    fn outcome(&self) -> String {
        if let Some(choice) = &self.choice {
            let others = match self.alternatives.first() {
                Some(next) => format!("; the next best is {} with {:.3}", next.name, next.score),
                None => "; no other would do now".to_owned(),
            };
            return format!("{} scores {:.3}{others}", choice.name, choice.score);
        }
        if self.rejected.is_empty() {
            return "no agent is registered".to_owned();
        }
        // Those that would do are what a person waits for.
        let (suit, rest): (Vec<&Rejected>, Vec<_>) = self
            .rejected
            .iter()
            .partition(|rejected| rejected.why.passes());
        let none_suits = suit.is_empty();
        let named = if none_suits { rest } else { suit };
        let shown = named
            .iter()
            .take(ALTERNATIVES)
            .map(|rejected| format!("{} {}", rejected.name, rejected.why));
        let more = named.len().saturating_sub(ALTERNATIVES);
        let tail = if more == 0 {
            String::new()
        } else {
            format!("; and {more} more")
        };
        let head = if none_suits {
            "no agent suits"
        } else {
            "no agent that suits is free"
        };
        format!("{head}: {}{tail}", shown.collect::<Vec<_>>().join("; "))
    }
}

/// Chooses among `candidates` by score; of equals the cheaper one, then the one that was registered first.
pub fn route<'a>(
    request: &RouteRequest,
    candidates: impl IntoIterator<Item = &'a Candidate>,
    context: RouteContext<'_>,
) -> Routing {
    let mut routing = Routing::default();
    let mut failed = Vec::new();
    let mut suitable = Vec::new();
    let mut is_known = false;
    for candidate in candidates {
        let agent = &candidate.agent;
        is_known |= request.prefers(agent);
        match refusal(request, candidate, context) {
            Some(why) => routing.rejected.push(rejected(agent, why)),
            None if context.failed.contains(&agent.id) => failed.push(candidate),
            None => suitable.push(score(request, candidate, context.now)),
        }
    }
    let soon = routing.rejected.iter().any(|it| it.why.is_at_work());
    if suitable.is_empty() && !soon {
        // Better the same once more than nobody; but attempts are not spent on it while another is only busy.
        suitable = failed
            .iter()
            .map(|candidate| score(request, candidate, context.now))
            .collect();
    } else {
        let failed = failed
            .iter()
            .map(|it| rejected(&it.agent, Refusal::FailedThisTask));
        routing.rejected.extend(failed);
    }
    suitable.sort_by(best_first);
    let mut suitable = suitable.into_iter();
    routing.choice = suitable.next();
    routing.alternatives = suitable.take(ALTERNATIVES).collect();
    // Stable: of those that are as near, the one that came first.
    routing.rejected.sort_by_key(|it| it.why.distance());
    routing.not_preferred = not_preferred(request, &routing, is_known);
    routing
}

fn not_preferred(request: &RouteRequest, routing: &Routing, is_known: bool) -> Option<String> {
    let preferred = request.preferred_agent.as_deref()?;
    if !is_known {
        return Some(format!("`{preferred}` is not registered"));
    }
    // Where nobody was chosen, the reason names the refused already.
    routing.choice.as_ref()?;
    let mut rejected = routing.rejected.iter();
    let refused = rejected.find(|it| request.means(it.agent, &it.name))?;
    Some(format!("`{preferred}` {}", refused.why))
}

fn best_first(a: &Scored, b: &Scored) -> Ordering {
    let cost = |scored: &Scored| scored.cost_usd.unwrap_or(f64::INFINITY);
    b.score
        .total_cmp(&a.score)
        .then(cost(a).total_cmp(&cost(b)))
        .then(a.agent.cmp(&b.agent))
}

fn rejected(agent: &RegisteredAgent, why: Refusal) -> Rejected {
    Rejected {
        agent: agent.id,
        name: agent.definition.name.clone(),
        why,
    }
}

/// What it cannot do first, and then why not now.
pub(super) fn refusal(
    request: &RouteRequest,
    candidate: &Candidate,
    context: RouteContext<'_>,
) -> Option<Refusal> {
    let agent = &candidate.agent;
    let definition = &agent.definition;
    let missing: Vec<String> = request
        .capabilities
        .difference(&definition.capabilities)
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Some(Refusal::MissingCapabilities(missing));
    }
    if definition.tier < request.min_tier {
        return Some(Refusal::TierTooLow {
            tier: definition.tier,
            least: request.min_tier,
        });
    }
    if !request.labels.are_met_by(&definition.labels) {
        return Some(Refusal::MissingLabels(request.labels.clone()));
    }
    let kind = agent.kind();
    if context.kinds.is_some_and(|kinds| !kinds.contains(&kind)) {
        return Some(Refusal::KindNotRun(kind));
    }
    candidate.unavailable(context.now)
}

impl Candidate {
    pub(super) fn is_visible(&self, tenant: TenantId) -> bool {
        self.agent.tenant.is_none_or(|owner| owner == tenant)
    }

    /// Why it cannot go on with a task that it has already: that it takes nothing new does not matter then.
    pub fn cut_off(&self, now: Timestamp) -> Option<Refusal> {
        let silent = silent(&self.agent, now).filter(|refusal| *refusal != Refusal::Busy);
        silent.or_else(|| self.full())
    }

    fn full(&self) -> Option<Refusal> {
        let capacity = self.agent.definition.capacity;
        (self.in_use >= capacity).then_some(Refusal::Full { capacity })
    }

    /// Why it can take no task now, whatever the task. Asked again behind the agent's lock, before it gets one.
    pub fn unavailable(&self, now: Timestamp) -> Option<Refusal> {
        let agent = &self.agent;
        if agent.draining {
            return Some(Refusal::Draining);
        }
        if let Some(refusal) = silent(agent, now) {
            return Some(refusal);
        }
        if !agent.condition.breaker.admits(self.in_use, now) {
            return Some(match agent.condition.breaker {
                Breaker::Open { until, .. } if until > now => Refusal::BreakerOpen { until },
                _ => Refusal::Probed,
            });
        }
        self.full()
    }
}

/// What an external agent's last words say against it. Others are run by workers, who have leases of their own.
fn silent(agent: &RegisteredAgent, now: Timestamp) -> Option<Refusal> {
    if agent.kind() != RegisteredKind::External {
        return None;
    }
    let Some(beat) = &agent.condition.beat else {
        return Some(Refusal::NeverBeat);
    };
    if !beat.is_fresh(now) {
        return Some(Refusal::Stale { since: beat.at });
    }
    match beat.status {
        AgentStatus::Busy => Some(Refusal::Busy),
        AgentStatus::Offline => Some(Refusal::Offline),
        AgentStatus::Healthy | AgentStatus::Degraded => None,
    }
}
