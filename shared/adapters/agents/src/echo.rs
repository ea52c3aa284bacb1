//! The agent that answers at once or after a delay, for tests and benchmarks. It starts nothing and touches no file.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Agent, AgentReport, AgentTask, HandlerError, RunContext};
use async_trait::async_trait;
use domain::{AgentKind, AgentSpec, LogStream};

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
        if let AgentSpec::Echo { delay_seconds } = task.agent
            && delay_seconds > 0
        {
            let delay = Duration::from_secs(delay_seconds.into());
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                why = context.interrupted() => return Err(HandlerError::Interrupted(why)),
            }
        }
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
            ..AgentReport::default()
        })
    }
}
