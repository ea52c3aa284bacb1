use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use domain::{AgentKind, AgentSpec, AgentStatus, JobId, OwnRating, Spent, TenantId, Usage};
use serde_json::Value;

use super::{HandlerError, RunContext};

/// One way to have work done on a repository.
#[async_trait]
pub trait Agent: Send + Sync {
    fn kind(&self) -> AgentKind;

    /// Works in `task.directory` until done or interrupted. When it returns, nothing that it started is left.
    async fn run(
        &self,
        task: AgentTask,
        context: Arc<dyn RunContext>,
    ) -> Result<AgentReport, HandlerError>;

    /// No further run will go on where those of `job` were: what was kept for that is removed. Called after a run with
    /// [`AgentTask::may_go_on`] only, since other runs see to it themselves.
    async fn forget(&self, job: JobId) {
        let _ = job;
    }
}

/// Asks agents that registered an address how they are.
#[async_trait]
pub trait AgentProbe: Send + Sync {
    /// Answers within seconds. The error says in words why the agent is not known to be well: it cannot be reached, its
    /// address is not allowed, or its answer is none.
    async fn health(&self, endpoint_url: &str) -> Result<Health, String>;
}

/// How an agent says that it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    pub status: AgentStatus,
    /// From 0 for idle to 1 for full; 0 where it says nothing.
    pub load: f64,
    pub tasks_in_progress: u32,
}

#[derive(Debug, Clone)]
pub struct AgentTask {
    pub tenant: TenantId,
    pub job: JobId,
    pub attempt: u32,
    /// Of the run, and of whatever is written for it.
    pub fence: i64,
    pub title: String,
    pub prompt: String,
    pub agent: AgentSpec,
    /// A worktree or an empty folder, of this run alone.
    pub directory: PathBuf,
    /// The wall-clock limit of this run.
    pub max_duration_seconds: u32,
    /// What the latest run left to go on from.
    pub checkpoint: Option<Value>,
    /// The directory holds what a run that was paused had changed.
    pub restored: bool,
    /// What the account of this agent stands at, of runs and rounds before. One that cannot go on with what it did, and begins
    /// anew, adds it to what it reports. `None`: another agent worked before, and has an account of its own; what it did is
    /// not to be reported again.
    pub account: Option<Spent>,
    /// What is wrong with the work that the agent did in this same directory, in words for whoever works there.
    pub feedback: Option<String>,
    /// How often the agent was told so in this run.
    pub round: u32,
    /// What the rounds before in this run used together. An agent whose rounds are accounts of their own adds it to what it
    /// reports; one whose account goes on has it in there.
    pub used: Option<Usage>,
    /// The agent may be asked to go on after it said that it is done: what it needs for that is kept.
    pub may_go_on: bool,
    /// The JSON schema of the output that the agent is to hand over.
    pub output_schema: Option<Value>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentReport {
    pub summary: Option<String>,
    pub exit_code: Option<i32>,
    pub usage: Option<Usage>,
    /// What it handed over as its output, unread; only where it was asked for.
    pub output: Option<String>,
    /// What it said of its work beside that.
    pub rating: OwnRating,
}
