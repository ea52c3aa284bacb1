//! The agent that lets a registered agent work, one that the claim gave to the session: by the External Agent Protocol,
//! which docs/eap.md tells. An agent that registered an address is called there, one without asks for its tasks.
//!
//! Nothing runs here. Which agent it is, the claim has decided; that it is one which the tenant may use, too.

mod pull;
mod push;

use std::sync::Arc;

use application::agent_tokens::AgentTokens;
use application::outbound::OutboundPolicy;
use application::ports::{
    Agent, AgentReport, AgentStore, AgentTask, AgentTaskStore, Clock, HandlerError, RunContext,
};
use async_trait::async_trait;
use domain::{AgentKind, AgentSpec, External};

use crate::eap;
use crate::environment::Environment;
use crate::failure::fail;
use crate::output::Redactor;

/// What the agent needs of the outside.
#[derive(Clone)]
pub struct ExternalSetup {
    pub agents: Arc<dyn AgentStore>,
    pub tasks: Arc<dyn AgentTaskStore>,
    pub clock: Arc<dyn Clock>,
    /// Tokens of agents that registered an address; without, none of them can be given a task.
    pub tokens: Option<AgentTokens>,
    /// Where these may be.
    pub outbound: OutboundPolicy,
}

pub struct ExternalAgent {
    http: Result<reqwest::Client, String>,
    setup: ExternalSetup,
    redactor: Redactor,
}

impl ExternalAgent {
    pub fn new(setup: ExternalSetup, environment: &Environment) -> Self {
        Self {
            http: eap::guarded_http(&setup.outbound),
            setup,
            redactor: environment.redactor().clone(),
        }
    }
}

#[async_trait]
impl Agent for ExternalAgent {
    fn kind(&self) -> AgentKind {
        AgentKind::External
    }

    async fn run(
        &self,
        task: AgentTask,
        context: Arc<dyn RunContext>,
    ) -> Result<AgentReport, HandlerError> {
        let AgentSpec::External(agent) = &task.agent else {
            return Err(fail(
                "AGENT_MISMATCH",
                format!(
                    "the session asks for the agent `{}`, and `external` was given it",
                    task.agent.kind()
                ),
            ));
        };
        let run = ExternalRun {
            http: &self.http,
            setup: &self.setup,
            redactor: &self.redactor,
            task: &task,
            agent,
            context: context.as_ref(),
        };
        if agent.endpoint_url.is_some() {
            push::push(&run).await
        } else {
            pull::pull(&run).await
        }
    }
}

/// One run of a session that a registered agent was given.
struct ExternalRun<'a> {
    /// Connects to nothing that `setup.outbound` does not allow.
    http: &'a Result<reqwest::Client, String>,
    setup: &'a ExternalSetup,
    /// Takes out what the worker knows to be secret.
    redactor: &'a Redactor,
    task: &'a AgentTask,
    agent: &'a External,
    context: &'a dyn RunContext,
}
