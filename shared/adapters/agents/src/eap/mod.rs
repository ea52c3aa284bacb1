//! The agent that lets a program elsewhere work, by the External Agent Protocol: docs/eap.md is its contract.
//!
//! The job's id is the key under which the agent knows the task, so whatever is asked twice is done once: an answer that
//! got lost, a worker that died. Work that is found to lack something is mended in a task of its own. Nothing runs here;
//! the files that come back are written into the run's worktree and nowhere else, and addresses come from the operator and
//! never from a session.

mod answer;
mod artifacts;
mod client;
mod conclude;
mod delivery;
mod endpoint;
mod guarded;
mod handover;
mod health;

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Agent, AgentReport, AgentTask, HandlerError, Interruption, RunContext};
use async_trait::async_trait;
use domain::{AgentKind, AgentSpec};
use tokio::time::timeout;

use crate::environment::Environment;
use crate::failure::{fail, retry};
use crate::output::Redactor;
pub(crate) use answer::together;
pub use answer::{Artifact, TaskResult, TaskStatus, result, running};
pub use artifacts::{ARTIFACT_BYTES, ARTIFACTS_MAX};
pub use client::ANSWER_BYTES;
use client::Client;
pub(crate) use conclude::Conclusion;
use delivery::Delivery;
pub use endpoint::{ConfiguredEndpoints, Endpoint, Endpoints, NotAnEndpoint, TokenSource};
pub(crate) use guarded::http as guarded_http;
pub(crate) use handover::body;
pub(crate) use handover::task_body;
pub use health::HealthProbe;

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
        let push = Push::new(http, endpoint, &task, &self.redactor, context.as_ref());
        let result = push.result(body).await?;
        push.conclude(result).await
    }
}

/// A task on its way to an agent, and its result on the way back.
pub(crate) struct Push<'a> {
    task: &'a AgentTask,
    redactor: Redactor,
    client: Client,
    context: &'a dyn RunContext,
}

impl<'a> Push<'a> {
    /// Nothing that is shown has the endpoint's token in it.
    pub(crate) fn new(
        http: reqwest::Client,
        endpoint: Endpoint,
        task: &'a AgentTask,
        redactor: &Redactor,
        context: &'a dyn RunContext,
    ) -> Self {
        Self {
            task,
            redactor: redactor.and([endpoint.token().to_owned()]),
            client: Client::new(http, endpoint, handover::task_id(task)),
            context,
        }
    }

    /// Gives the task, as [`handover::body`] has it, and waits for its end or for that of the run.
    pub(crate) async fn result(&self, body: Vec<u8>) -> Result<TaskResult, HandlerError> {
        let delivery = Delivery {
            client: &self.client,
            context: self.context,
            redactor: &self.redactor,
            used: self.task.used,
            body,
        };
        tokio::select! {
            why = self.context.interrupted() => Err(self.leave(why).await),
            result = delivery.result() => result,
        }
    }

    pub(crate) async fn conclude(&self, result: TaskResult) -> Result<AgentReport, HandlerError> {
        let conclusion = Conclusion {
            task: self.task,
            agent: self.client.agent(),
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
            | Interruption::LockLost => self.cancel().await,
            Interruption::Drain | Interruption::LeaseLost => {}
        }
        HandlerError::Interrupted(why)
    }

    /// Tells the agent that nobody wants its work.
    pub(crate) async fn cancel(&self) {
        if timeout(FAREWELL_LIMIT, self.client.cancel()).await.is_err() {
            let agent = self.client.agent();
            tracing::info!(job = %self.task.job, agent, "the agent did not confirm that it ended its task");
        }
    }
}
