//! The agent that lets a program elsewhere work, by the External Agent Protocol: docs/eap.md is its contract.
//!
//! The job's id is the key under which the agent knows the task, so whatever is asked twice is done once: an answer that
//! got lost, a worker that died. Work that is found to lack something is mended in a task of its own. Nothing runs here;
//! the files that come back are written into the run's worktree and nowhere else, and addresses come from the operator and
//! never from a session.

mod answer;
mod artifacts;
mod client;
mod delivery;
mod endpoint;
mod handover;

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Agent, AgentReport, AgentTask, HandlerError, Interruption, RunContext};
use async_trait::async_trait;
use domain::{AgentKind, AgentSpec, Eap, LogStream, OwnRating, Progress, Usage};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::environment::Environment;
use crate::failure::{fail, retry};
use crate::handed;
use crate::output::Redactor;
use crate::progress::without_nul;
pub use answer::{Artifact, TaskResult, TaskStatus, result, running};
pub use artifacts::{ARTIFACT_BYTES, ARTIFACTS_MAX};
pub use client::ANSWER_BYTES;
use client::Client;
use delivery::Delivery;
pub use endpoint::{ConfiguredEndpoints, Endpoint, Endpoints, NotAnEndpoint, TokenSource};

/// Said once, on the way out; an agent that misses it sees that nobody fetches its result.
const FAREWELL_LIMIT: Duration = Duration::from_millis(300);
/// A summary is read in lists.
const SUMMARY_CHARS: usize = 2000;
const REASON_CHARS: usize = 500;
/// The artifact with what the agent said beside its files.
const OUTPUT_NAME: &str = "eap-output.json";
/// The member of `output_data` with the session's structured output.
const OUTPUT: &str = "output";

pub struct EapAgent {
    endpoints: Arc<dyn Endpoints>,
    http: Result<reqwest::Client, String>,
    redactor: Redactor,
}

impl EapAgent {
    pub fn new(endpoints: Arc<dyn Endpoints>, environment: &Environment) -> Self {
        Self {
            endpoints,
            http: client::http(),
            redactor: environment.redactor().clone(),
        }
    }
}

#[async_trait]
impl Agent for EapAgent {
    fn kind(&self) -> AgentKind {
        AgentKind::Eap
    }

    async fn run(
        &self,
        task: AgentTask,
        context: Arc<dyn RunContext>,
    ) -> Result<AgentReport, HandlerError> {
        let AgentSpec::Eap(spec) = &task.agent else {
            return Err(fail(
                "AGENT_MISMATCH",
                format!(
                    "the session asks for the agent `{}`, and `eap` was given it",
                    task.agent.kind()
                ),
            ));
        };
        let http = self.http.clone().map_err(|why| retry("EAP_CLIENT", why))?;
        let endpoint = self.endpoints.find(task.tenant, &spec.name).await?;
        let body = handover::body(&task, spec)?;
        let run = Run {
            task: &task,
            spec,
            redactor: self.redactor.and([endpoint.token().to_owned()]),
            client: Client::new(http, endpoint, handover::task_id(&task)),
            context: context.as_ref(),
        };
        run.to_the_end(body).await
    }
}

struct Run<'a> {
    task: &'a AgentTask,
    spec: &'a Eap,
    redactor: Redactor,
    client: Client,
    context: &'a dyn RunContext,
}

impl Run<'_> {
    async fn to_the_end(&self, body: Vec<u8>) -> Result<AgentReport, HandlerError> {
        let delivery = Delivery {
            client: &self.client,
            context: self.context,
            redactor: &self.redactor,
            used: self.task.used,
            body,
        };
        let result = tokio::select! {
            why = self.context.interrupted() => return Err(self.leave(why).await),
            result = delivery.result() => result?,
        };
        self.conclude(result).await
    }

    /// Ends the task where nobody wants it any more. When only the worker leaves, the next one goes on waiting for it.
    async fn leave(&self, why: Interruption) -> HandlerError {
        match why {
            // A session that is paused, or has used up its budget, is to cost nothing while nobody waits for it: its
            // agent begins anew when it is resumed.
            Interruption::Stop
            | Interruption::Pause
            | Interruption::Deadline
            | Interruption::LockLost => {
                if timeout(FAREWELL_LIMIT, self.client.cancel()).await.is_err() {
                    tracing::info!(job = %self.task.job, agent = self.spec.name, "the agent did not confirm that it ended its task");
                }
            }
            Interruption::Drain | Interruption::LeaseLost => {}
        }
        HandlerError::Interrupted(why)
    }

    async fn conclude(&self, result: TaskResult) -> Result<AgentReport, HandlerError> {
        let usage = answer::together(self.task.used, result.usage());
        self.tell(&result, usage).await;
        if result.status == TaskStatus::Failed {
            let said = result.error_message.as_deref().unwrap_or("not why");
            let message = format!("the agent `{}` says: {said}", self.spec.name);
            return Err(fail("AGENT_FAILED", self.shown(&message, REASON_CHARS)));
        }
        artifacts::write(&self.task.directory, result.artifacts.unwrap_or_default()).await?;
        let output = without_nul(result.output_data.unwrap_or_default().into());
        let summary = output["summary"].as_str();
        let summary = summary.map(|text| self.shown(text, SUMMARY_CHARS));
        if output.as_object().is_some_and(|it| !it.is_empty()) {
            let text = self.redactor.once(&format!("{output:#}\n"));
            let kept = self
                .context
                .keep(OUTPUT_NAME, "application/json", text.into_bytes());
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
            .or_else(|| handed::read(&self.task.directory, &self.redactor))
    }

    /// Shows what the work took, also when it came to nothing.
    async fn tell(&self, result: &TaskResult, usage: Option<Usage>) {
        let mut data = Map::new();
        let mut line = format!("the agent `{}` {}", self.spec.name, result.status.as_str());
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
