//! The agent that lets a program elsewhere work, by the External Agent Protocol: docs/eap.md is its contract.
//!
//! The job's id is the key under which the agent knows the task, so whatever is asked twice is done once: an answer that
//! got lost, a worker that died. Work that is found to lack something is mended in a task of its own. Nothing runs here; the files that come back are written into the run's worktree and
//! nowhere else, and addresses come from the operator and never from a session.

mod answer;
mod artifacts;
mod client;
mod conclude;
mod delivery;
mod endpoint;
mod handover;

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Agent, AgentReport, AgentTask, HandlerError, Interruption, RunContext};
use async_trait::async_trait;
use domain::{AgentKind, AgentSpec, Eap};
use tokio::time::timeout;

use crate::environment::Environment;
use crate::failure::{fail, retry};
use crate::output::Redactor;
pub use answer::{Artifact, TaskResult, TaskStatus, result, running};
pub use artifacts::{ARTIFACT_BYTES, ARTIFACTS_MAX};
pub use client::ANSWER_BYTES;
use client::Client;
pub(crate) use conclude::Conclusion;
use delivery::Delivery;
pub use endpoint::{ConfiguredEndpoints, Endpoint, Endpoints, NotAnEndpoint, TokenSource};
pub(crate) use handover::task_body;

/// Said once, on the way out; an agent that misses it sees that nobody fetches its result.
const FAREWELL_LIMIT: Duration = Duration::from_millis(300);

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
            body,
        };
        let result = tokio::select! {
            why = self.context.interrupted() => return Err(self.leave(why).await),
            result = delivery.result() => result?,
        };
        let conclusion = Conclusion {
            task: self.task,
            agent: &self.spec.name,
            redactor: &self.redactor,
            context: self.context,
        };
        conclusion.of(result).await
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
}
