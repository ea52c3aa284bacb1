//! Many tasks and the agents that they may have: who gets which, as far as it is known before anything is locked.

use std::collections::{BTreeMap, HashSet};

use super::RegisteredKind;
use super::route::{Candidate, RouteContext, RouteRequest, Wish, route};
use crate::{AgentId, JobId, Labels, QueueKey, Timestamp};

/// A session that waits to be routed.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingTask {
    pub job: JobId,
    pub queue: QueueKey,
    pub request: RouteRequest,
    /// What its worker must have.
    pub requires: Labels,
    /// Agents that failed at it.
    pub failed: Vec<AgentId>,
    /// The agent that works on it still, or has done it, for a run that was lost.
    pub holder: Option<AgentId>,
}

/// A session and the agent that it is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    pub job: JobId,
    pub queue: QueueKey,
    pub agent: AgentId,
    /// The agent has it already.
    pub resumes: bool,
}

/// What a worker offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedOffer {
    /// Kinds of agents that it runs.
    pub kinds: Vec<RegisteredKind>,
    pub labels: Labels,
    /// Sessions that it has room for.
    pub most: u32,
    /// Tenants are drawn by lot, where more wait than are looked at: those with the fewest runs, which come first otherwise,
    /// may all wait for what is not there.
    pub by_lot: bool,
}

/// Goes through `tasks` in their order, and gives each the best agent that is left. `free`: slots of each queue.
pub fn assign(
    tasks: &[WaitingTask],
    mut candidates: Vec<Candidate>,
    mut free: BTreeMap<QueueKey, u32>,
    offer: &RoutedOffer,
    now: Timestamp,
) -> Vec<Assignment> {
    let mut assigned = Vec::new();
    // Agents only fill up while this goes on, so what found none once finds none again.
    let mut in_vain: HashSet<(QueueKey, Wish<'_>, &[AgentId])> = HashSet::new();
    for task in tasks {
        if assigned.len() >= offer.most as usize {
            break;
        }
        let Some(room) = free.get_mut(&task.queue).filter(|room| **room > 0) else {
            continue;
        };
        if !task.requires.are_met_by(&offer.labels) {
            continue;
        }
        if let Some(agent) = holder(task, &candidates, offer, now) {
            *room -= 1;
            take(&mut candidates, agent);
            assigned.push(task.assigned(agent, true));
            continue;
        }
        let key = (task.queue, task.request.wish(), task.failed.as_slice());
        if in_vain.contains(&key) {
            continue;
        }
        let context = RouteContext {
            kinds: Some(&offer.kinds),
            failed: &task.failed,
            now,
        };
        let visible = candidates
            .iter()
            .filter(|it| it.is_visible(task.queue.tenant));
        let Some(choice) = route(&task.request, visible, context).choice else {
            in_vain.insert(key);
            continue;
        };
        *room -= 1;
        take(&mut candidates, choice.agent);
        assigned.push(task.assigned(choice.agent, false));
    }
    assigned
}

impl WaitingTask {
    const fn assigned(&self, agent: AgentId, resumes: bool) -> Assignment {
        Assignment {
            job: self.job,
            queue: self.queue,
            agent,
            resumes,
        }
    }
}

/// Who has the task already, if it can go on.
fn holder(
    task: &WaitingTask,
    candidates: &[Candidate],
    offer: &RoutedOffer,
    now: Timestamp,
) -> Option<AgentId> {
    let holder = task.holder.filter(|it| !task.failed.contains(it))?;
    let found = candidates.iter().find(|it| it.agent.id == holder)?;
    let goes_on = found.is_visible(task.queue.tenant)
        && offer.kinds.contains(&found.agent.kind())
        && found.cut_off(now).is_none();
    goes_on.then_some(holder)
}

fn take(candidates: &mut [Candidate], agent: AgentId) {
    if let Some(taken) = candidates.iter_mut().find(|it| it.agent.id == agent) {
        taken.in_use += 1;
        taken.agent.condition = taken.agent.condition.clone().taken();
    }
}

/// Of each tenant one in turn, so that a tenant with many does not keep others waiting.
pub fn in_turns(mut tasks: Vec<WaitingTask>) -> Vec<WaitingTask> {
    let mut seen: BTreeMap<QueueKey, usize> = BTreeMap::new();
    let mut order: Vec<usize> = Vec::with_capacity(tasks.len());
    for task in &tasks {
        let round = seen.entry(task.queue).or_default();
        order.push(*round);
        *round += 1;
    }
    let mut rounds = order.into_iter();
    // Stable: within a round they stay as they came.
    tasks.sort_by_cached_key(|_| rounds.next().unwrap_or(usize::MAX));
    tasks
}

/// What of `wanted` still holds behind the locks: `free` slots and `agents` are as they are read there, and are counted on
/// here.
pub fn confirm(
    wanted: Vec<Assignment>,
    mut free: BTreeMap<QueueKey, u32>,
    agents: &mut BTreeMap<AgentId, Candidate>,
    now: Timestamp,
) -> Vec<Assignment> {
    let holds = |it: &Assignment| {
        let Some(room) = free.get_mut(&it.queue).filter(|room| **room > 0) else {
            return false;
        };
        let Some(agent) = agents.get_mut(&it.agent) else {
            return false;
        };
        let refusal = if it.resumes {
            agent.cut_off(now)
        } else {
            agent.unavailable(now)
        };
        if !agent.is_visible(it.queue.tenant) || refusal.is_some() {
            return false;
        }
        *room -= 1;
        agent.in_use += 1;
        agent.agent.condition = agent.agent.condition.clone().taken();
        true
    };
    wanted.into_iter().filter(holds).collect()
}
