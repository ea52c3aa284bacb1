//! The agent that lets a model work, by way of OpenCode.
//!
//! Each run has a server of its own, below the run's guard, with its own port, password and folders; nothing of it
//! outlives the run but the conversation, in a folder of the job's own, with which a later run on this worker goes on. Only
//! where the operator names running servers, runs share those.
//! OpenCode confines nothing: its tools run as the worker's user, wherever its rules and the worker's isolation let them.

mod asking;
mod call;
mod check;
mod client;
mod config;
mod conversation;
mod events;
mod folder;
mod handover;
mod opening;
mod outcome;
mod permissions;
mod program;
mod providers;
mod references;
mod rules;
mod run;
mod running;
mod server;
mod shown;
mod silence;
mod spending;
mod wildcard;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::ports::{Agent, AgentReport, AgentTask, HandlerError, RunContext, TenantStore};
use async_trait::async_trait;
use domain::{AgentKind, AgentSpec, JobId};
use tokio::time::Instant;

use crate::environment::Environment;
use crate::failure::{fail, retry};
use crate::guard::GuardCommand;
use crate::output::OutputLimits;
pub use check::{check_config, check_servers};
pub(crate) use config::texts;
use config::{Config, ConfigReader};
use folder::JobFolder;
use providers::Providers;
pub use providers::{ProviderSet, ProvidersError};
use run::Run;
use running::RunningServers;

/// A worker may be up for months.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// What the operator says about OpenCode on this worker.
pub struct OpenCodeSetup {
    /// A path, or a name that is looked for on the `PATH`.
    pub program: PathBuf,
    /// A configuration of OpenCode with providers and models, for whoever has none of its own.
    pub config: Option<PathBuf>,
    /// Others by their names, which sessions, agents and tenants may have.
    pub providers: BTreeMap<String, ProviderSet>,
    /// Where a tenant's name is looked up.
    pub tenants: Arc<dyn TenantStore>,
    /// A list of running servers, which are used instead of the program.
    pub servers: Option<PathBuf>,
    /// The worker's own variables, which that configuration may refer to.
    pub variables: Vec<(OsString, OsString)>,
    /// Where conversations are kept, one folder a job.
    pub folder: PathBuf,
}

pub struct OpenCodeAgent {
    guard: GuardCommand,
    environment: Environment,
    limits: OutputLimits,
    program: PathBuf,
    providers: Providers,
    config: ConfigReader,
    servers: Option<RunningServers>,
    folder: PathBuf,
    swept: Mutex<Option<Instant>>,
}

impl OpenCodeAgent {
    pub fn new(
        guard: GuardCommand,
        environment: Environment,
        limits: OutputLimits,
        setup: OpenCodeSetup,
    ) -> Result<Self, ProvidersError> {
        let variables = || setup.variables.iter().cloned();
        let servers = setup.servers;
        Ok(Self {
            servers: servers.map(|path| RunningServers::new(path, variables())),
            providers: Providers::new(setup.config, setup.providers, setup.tenants)?,
            config: ConfigReader::new(variables()),
            guard,
            environment,
            limits,
            program: setup.program,
            folder: setup.folder,
            swept: Mutex::new(None),
        })
    }

    /// Removes conversations that no run has gone on with for a day; returns how many.
    pub fn sweep(&self) -> io::Result<usize> {
        *self.swept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        folder::sweep(&self.folder)
    }

    fn sweep_now_and_then(&self) {
        let swept = *self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_some_and(|at| at.elapsed() < SWEEP_EVERY) {
            return;
        }
        if let Err(error) = self.sweep() {
            tracing::warn!(%error, "old conversations of OpenCode may be left");
        }
    }
}

#[async_trait]
impl Agent for OpenCodeAgent {
    fn kind(&self) -> AgentKind {
        AgentKind::OpenCode
    }

    async fn run(
        &self,
        task: AgentTask,
        context: Arc<dyn RunContext>,
    ) -> Result<AgentReport, HandlerError> {
        let AgentSpec::OpenCode(spec) = &task.agent else {
            return Err(fail(
                "AGENT_MISMATCH",
                format!(
                    "the session asks for the agent `{}`, and `opencode` was given it",
                    task.agent.kind()
                ),
            ));
        };
        if !task.directory.is_dir() {
            return Err(retry(
                "WORKER_FILES",
                format!("the run's folder {} is gone", task.directory.display()),
            ));
        }
        self.sweep_now_and_then();
        let config = if self.servers.is_some() {
            providers::refuse_named(spec)?;
            Config::of_session(spec)
        } else {
            let file = self.providers.choose(task.tenant, spec).await?;
            self.config.load(&file, spec, &task.directory)?
        };
        let folder = JobFolder::open(&self.folder, task.job, task.attempt)?;
        let run = Run::new(self, &task, spec, &config, &folder, context.as_ref());
        let result = run.to_the_end().await;
        let is_over = match &result {
            Ok(_) => !task.may_go_on,
            Err(error) => matches!(error, HandlerError::Fail(_)),
        };
        if is_over {
            folder.remove();
        }
        result
    }

    async fn forget(&self, job: JobId) {
        folder::forget(&self.folder, job);
    }
}
