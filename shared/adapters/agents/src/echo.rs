//! The agent that answers at once, for tests and benchmarks. It starts nothing and touches no file.

use std::sync::Arc;

use application::ports::{Agent, AgentReport, AgentTask, HandlerError, RunContext};
use async_trait::async_trait;
use domain::{AgentKind, LogStream};

/// How much of a prompt stands for a missing title.
const SUMMARY_CHARS: usize = 120;

#[derive(Debug, Clone, Copy, Default)]
pub struct EchoAgent;

#[async_trait]
impl Agent for EchoAgent {
    fn kind(&self) -> AgentKind {
        AgentKind::Echo
    }

    async fn run(
        &self,
        task: AgentTask,
        context: Arc<dyn RunContext>,
    ) -> Result<AgentReport, HandlerError> {
        let said = if task.title.trim().is_empty() {
            task.prompt.trim()
        } else {
            task.title.trim()
        };
        let summary: String = said.chars().take(SUMMARY_CHARS).collect();
        context
            .log(LogStream::Stdout, &format!("echo: {summary}\n"))
            .await;
        Ok(AgentReport {
            summary: Some(summary),
            exit_code: None,
        })
    }
}
