//! PROBE: agents that are given their tasks and do not say by themselves how they are, are asked. The answer is a heartbeat
//! like any other; where none comes, none is kept, and the agent goes stale as one that stopped beating does.
//!
//! Decides nothing about routing, and takes nothing from an agent: that follows from what the store knows of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{AgentProbe, Health, StoreError};
use domain::{AgentId, Beat, HEARTBEAT_INTERVAL, HEARTBEATS_MISSED, RegisteredAgent, Timestamp};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::life::Worker;
use crate::singleton;

const CHORE: &str = "probe";
/// Between two looks for agents that are to be asked; a new agent is asked within this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Agents that one look goes through; the next one goes on behind them.
const PAGE: u32 = 200;
/// Questions that wait for their answers at once: one takes seconds where nobody answers.
const AT_ONCE: usize = 64;
/// What is remembered of an agent that is not asked any more is forgotten.
const MEMORY: Duration = Duration::from_mins(1);

/// Ends at once for a worker that gives no tasks to such agents.
pub(crate) async fn probe_loop(worker: Arc<Worker>) {
    let Some(probe) = worker.tools.probe.clone() else {
        return;
    };
    let mut round = Round::new(probe);
    loop {
        if singleton::is_mine(&worker, CHORE, LOOK_EVERY * 3).await {
            if let Err(error) = round.look(&worker).await {
                tracing::warn!(%error, "agents to be asked how they are could not be looked for");
                let errors = &worker.metrics.engine_errors_total;
                errors.with_label_values(&["probe"]).inc();
            }
        } else {
            // Whoever asks now knows who was asked when.
            round = Round::new(Arc::clone(&round.probe));
        }
        tokio::select! {
            biased;
            () = worker.over.cancelled() => break,
            () = round.hear(&worker) => {}
        }
    }
    singleton::give_up(&worker, CHORE).await;
}

/// Who is asked, and what came of it. When it is dropped, nobody is asked any more.
struct Round {
    probe: Arc<dyn AgentProbe>,
    /// Where the next look goes on.
    after: Option<AgentId>,
    asked: HashMap<AgentId, Asked>,
    under_way: JoinSet<Answer>,
}

#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    under_way: bool,
    /// In a row.
    misses: u32,
}

struct Answer {
    agent: RegisteredAgent,
    at: Timestamp,
    health: Result<Health, String>,
}

impl Round {
    fn new(probe: Arc<dyn AgentProbe>) -> Self {
        Self {
            probe,
            after: None,
            asked: HashMap::new(),
            under_way: JoinSet::new(),
        }
    }

    /// Asks those of the next page who are due, as far as there is room.
    async fn look(&mut self, worker: &Worker) -> Result<(), StoreError> {
        let agents = &worker.ports.agents;
        let page = agents.agents_with_endpoint(self.after, PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        self.after = page.last().filter(|_| !is_last).map(|agent| agent.id);
        self.asked
            .retain(|_, asked| asked.under_way || asked.at.elapsed() < MEMORY);
        let now = worker.ports.clock.now();
        for agent in page {
            if self.under_way.len() < AT_ONCE && self.is_due(&agent, now) {
                self.ask(agent, now);
            }
        }
        Ok(())
    }

    fn is_due(&self, agent: &RegisteredAgent, now: Timestamp) -> bool {
        let says_nothing = |beat: &Beat| beat.is_due(now);
        let may_be_asked =
            |asked: &Asked| !asked.under_way && asked.at.elapsed() >= HEARTBEAT_INTERVAL;
        agent.condition.beat.as_ref().is_none_or(says_nothing)
            && self.asked.get(&agent.id).is_none_or(may_be_asked)
    }

    fn ask(&mut self, agent: RegisteredAgent, at: Timestamp) {
        let Some(url) = agent.external().and_then(|it| it.endpoint_url.clone()) else {
            return;
        };
        let misses = self.asked.get(&agent.id).map_or(0, |asked| asked.misses);
        let asked = Asked {
            at: Instant::now(),
            under_way: true,
            misses,
        };
        self.asked.insert(agent.id, asked);
        let probe = Arc::clone(&self.probe);
        self.under_way.spawn(async move {
            let health = probe.health(&url).await;
            Answer { agent, at, health }
        });
    }

    /// Takes in answers until it is time to look again.
    async fn hear(&mut self, worker: &Worker) {
        let until = Instant::now() + LOOK_EVERY;
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => return,
                Some(answer) = self.under_way.join_next() => match answer {
                    Ok(answer) => self.take(worker, answer).await,
                    Err(error) => tracing::error!(%error, "a question to an agent broke"),
                },
            }
        }
    }

    async fn take(&mut self, worker: &Worker, answer: Answer) {
        let Answer { agent, at, health } = answer;
        let misses = self.asked.get(&agent.id).map_or(0, |asked| asked.misses);
        let name = &agent.definition.name;
        let is_answered = health.is_ok();
        let misses = match health {
            Ok(health) => {
                if misses >= HEARTBEATS_MISSED {
                    tracing::info!(agent = %agent.id, name, "an agent answers again");
                }
                keep(worker, agent.id, at, health).await;
                0
            }
            Err(why) => {
                if misses + 1 == HEARTBEATS_MISSED {
                    tracing::warn!(agent = %agent.id, name, why, "an agent did not answer three times in a row and gets nothing until it does");
                }
                misses.saturating_add(1)
            }
        };
        if let Some(asked) = self.asked.get_mut(&agent.id) {
            asked.under_way = false;
            asked.misses = misses;
        }
        let outcome = if is_answered { "answered" } else { "missed" };
        let probes = &worker.metrics.agent_probes_total;
        probes.with_label_values(&[outcome]).inc();
    }
}

/// As of when it was asked: what the agent said by itself meanwhile is newer.
async fn keep(worker: &Worker, agent: AgentId, at: Timestamp, health: Health) {
    let beat = Beat {
        at,
        status: health.status,
        load: health.load,
        tasks_in_progress: health.tasks_in_progress,
        metrics: serde_json::Map::new(),
        probed: true,
    };
    if let Err(error) = worker.ports.agents.beat(agent, beat).await {
        tracing::warn!(%error, %agent, "what an agent answered could not be kept");
    }
}
