use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use domain::{AgentKind, AgentSpec, JobId, TenantId, Usage};
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
}

#[derive(Debug, Clone)]
pub struct AgentTask {
    pub tenant: TenantId,
    pub job: JobId,
    pub attempt: u32,
    pub title: String,
    pub prompt: String,
    pub agent: AgentSpec,
    /// A worktree or an empty folder, of this run alone.
    pub directory: PathBuf,
    /// The wall-clock limit of this run.
    pub max_duration_seconds: u32,
    /// What the latest run left to go on from.
    pub checkpoint: Option<Value>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentReport {
    pub summary: Option<String>,
    pub exit_code: Option<i32>,
    pub usage: Option<Usage>,
}
