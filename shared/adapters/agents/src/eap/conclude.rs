//! What becomes of a task's result, by whatever way it came: files into the worktree, words into the log, numbers into the
//! progress.

use application::ports::{AgentReport, AgentTask, HandlerError, RunContext};
use domain::{LogStream, OUTPUT_ARTIFACT, OwnRating, Progress, Usage};
use serde_json::{Map, Value, json};

use super::answer::{TaskResult, TaskStatus, together};
use super::{artifacts, client};
use crate::failure::{fail, redacted};
use crate::handed;
use crate::output::Redactor;
use crate::progress::without_nul;

/// A summary is read in lists.
const SUMMARY_CHARS: usize = 2000;
const REASON_CHARS: usize = 500;
/// The member of `output_data` with the session's structured output.
const OUTPUT: &str = "output";

pub(crate) struct Conclusion<'a> {
    pub task: &'a AgentTask,
    /// Its name.
    pub agent: &'a str,
    pub redactor: &'a Redactor,
    pub context: &'a dyn RunContext,
}

impl Conclusion<'_> {
    /// Writes the files, keeps the rest, and tells what it took.
    pub(crate) async fn of(&self, result: TaskResult) -> Result<AgentReport, HandlerError> {
        let usage = together(self.task.used, result.usage());
        self.tell(&result, usage).await;
        if result.status == TaskStatus::Failed {
            let said = result.error_message.as_deref().unwrap_or("not why");
            let message = format!("the agent `{}` says: {said}", self.agent);
            return Err(fail("AGENT_FAILED", self.shown(&message, REASON_CHARS)));
        }
        let files = result.artifacts.unwrap_or_default();
        let written = artifacts::write(&self.task.directory, files).await;
        // What is wrong with a path is told with the path, which is the agent's.
        written.map_err(|error| redacted(error, self.redactor))?;
        let output = without_nul(result.output_data.unwrap_or_default().into());
        let summary = output["summary"].as_str();
        let summary = summary.map(|text| self.shown(text, SUMMARY_CHARS));
        if output.as_object().is_some_and(|it| !it.is_empty()) {
            let text = self.redactor.once(&format!("{output:#}\n"));
            let kept = self
                .context
                .keep(OUTPUT_ARTIFACT, "application/json", text.into_bytes());
            kept.await?;
        }
        Ok(AgentReport {
            summary,
            usage,
            output: self.output(&output),
            rating: OwnRating::of(&output),
            ..AgentReport::default()
        })
    }

    /// What the session asks for by its schema: beside the files, or as one of them.
    fn output(&self, said: &Value) -> Option<String> {
        self.task.output_schema.as_ref()?;
        let said = said.get(OUTPUT).map(Value::to_string);
        said.map(|text| self.redactor.once(&text))
            .or_else(|| handed::read(&self.task.directory, self.redactor))
    }

    /// Shows what the work took, also when it came to nothing.
    async fn tell(&self, result: &TaskResult, usage: Option<Usage>) {
        let mut data = Map::new();
        let mut line = format!("the agent `{}` {}", self.agent, result.status.as_str());
        if let Some(took) = result.execution_time_ms {
            data.insert("execution_time_ms".to_owned(), json!(took));
            line = format!("{line} after {took:.0} ms");
        }
        if let Some(usage) = usage {
            data.insert("input_tokens".to_owned(), usage.input_tokens.into());
            data.insert("output_tokens".to_owned(), usage.output_tokens.into());
            data.insert("cost".to_owned(), json!(usage.cost));
            let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
            line = format!("{line}; {tokens} tokens, cost {}", usage.cost);
        }
        let files = result.artifacts.as_ref().map_or(0, Vec::len);
        let line = format!("{line}; files: {files}\n");
        self.context.log(LogStream::System, &line).await;
        let completed = result.status == TaskStatus::Completed;
        let progress = Progress {
            fraction: completed.then_some(1.0),
            message: None,
            data,
        };
        self.context.progress(progress).await;
    }

    fn shown(&self, text: &str, limit: usize) -> String {
        client::cut(&self.redactor.once(&text.replace('\0', "\u{fffd}")), limit)
    }
}
