//! The agent that lets a model work, by way of OpenCode.
//!
//! Each run has a server of its own, below the run's guard, with its own port, password and folders; nothing of it
//! outlives the run but the conversation, in a folder of the job's own, with which a later run on this worker goes on.
//! OpenCode confines nothing: its tools run as the worker's user, wherever its rules let them.

mod client;
mod config;
mod conversation;
mod events;
mod folder;
mod outcome;
mod rules;
mod server;
mod shown;
mod spending;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::ports::{Agent, AgentReport, AgentTask, HandlerError, Interruption, RunContext};
use async_trait::async_trait;
use domain::{AgentKind, AgentSpec, JobId, OpenCode};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::environment::Environment;
use crate::failure::{fail, retry};
use crate::guard::{Exit, GuardCommand, RunLost};
use crate::output::{Console, OutputLimits};
use crate::supervise::{KILL_PATIENCE, lose};
use client::CallError;
use config::{Config, ConfigFile};
use conversation::{Conversation, Told};
use folder::JobFolder;
use server::{Hearing, Server};

/// A server that dies is started anew in the same run so often: its files and its conversation are still there.
const RESTARTS: u32 = 2;
/// It takes a tenth of a second; what does not, the guard ends.
const ABORT_PATIENCE: Duration = Duration::from_millis(300);
/// The member of a checkpoint that names the conversation.
const CHECKPOINT: &str = "opencode_session";

/// What the operator says about OpenCode on this worker.
pub struct OpenCodeSetup {
    /// A path, or a name that is looked for on the `PATH`.
    pub program: PathBuf,
    /// A configuration of OpenCode with providers and models.
    pub config: Option<PathBuf>,
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
    config: ConfigFile,
    folder: PathBuf,
}

impl OpenCodeAgent {
    pub fn new(
        guard: GuardCommand,
        environment: Environment,
        limits: OutputLimits,
        setup: OpenCodeSetup,
    ) -> Self {
        Self {
            guard,
            environment,
            limits,
            program: setup.program,
            config: ConfigFile::new(setup.config, setup.variables),
            folder: setup.folder,
        }
    }

    /// Removes conversations that no run has gone on with for a day; returns how many.
    pub fn sweep(&self) -> io::Result<usize> {
        folder::sweep(&self.folder)
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
        let config = self.config.load(spec, &task.directory)?;
        let folder = JobFolder::open(&self.folder, task.job, task.attempt)?;
        let run = Run {
            agent: self,
            task: &task,
            spec,
            config: &config,
            folder: &folder,
            context: context.as_ref(),
            session: Mutex::new(named_in(&task)),
        };
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

/// The conversation that the last run left.
fn named_in(task: &AgentTask) -> Option<String> {
    let name = task.checkpoint.as_ref()?.get(CHECKPOINT)?.as_str()?;
    Some(name.to_owned())
}

struct Run<'a> {
    agent: &'a OpenCodeAgent,
    task: &'a AgentTask,
    spec: &'a OpenCode,
    config: &'a Config,
    folder: &'a JobFolder,
    context: &'a dyn RunContext,
    /// The conversation, once there is one.
    session: Mutex<Option<String>>,
}

/// Why a server's time was over.
enum End {
    Told(Told),
    Exit(Result<Exit, RunLost>),
    Interrupted(Interruption),
}

/// The server is gone, and another one may do.
struct Died(String);

impl Run<'_> {
    async fn to_the_end(&self) -> Result<AgentReport, HandlerError> {
        let mut deaths = 0;
        loop {
            let Died(why) = match self.with_one_server(deaths).await {
                Ok(ended) => return ended,
                Err(died) => died,
            };
            deaths += 1;
            if deaths > RESTARTS {
                let message = format!("OpenCode's server died {deaths} times: {why}");
                return Err(retry("OPENCODE_DIED", message));
            }
            tracing::warn!(job = %self.task.job, why, "OpenCode's server died and is started anew");
        }
    }

    /// When this returns, the server and all that it started are dead.
    async fn with_one_server(
        &self,
        deaths: u32,
    ) -> Result<Result<AgentReport, HandlerError>, Died> {
        let agent = self.agent;
        let started = Server::start(
            &agent.guard,
            &agent.program,
            &agent.environment,
            self.task,
            self.config,
            self.folder,
        );
        let mut server = match started.await {
            Ok(server) => server,
            Err(error) => return Ok(Err(error)),
        };
        let redactor = server.redactor.clone();
        let control = server.control.clone();
        let console = Console::new(
            self.context,
            redactor.clone(),
            agent.limits,
            control.clone(),
        );
        if deaths > 0 {
            console
                .say("OpenCode's server died and was started anew")
                .await;
        }
        let mut alive = JoinSet::new();
        alive.spawn(control.clone().keep_alive());
        let conversation = Conversation::new(self, &server.client, &console, deaths > 0);
        let mut exit = pin!(server.guard.wait());
        let end = tokio::select! {
            why = self.context.interrupted() => End::Interrupted(why),
            exit = &mut exit => End::Exit(exit),
            told = conversation.run(&server.hearing) => End::Told(told),
        };
        match end {
            End::Interrupted(Interruption::LeaseLost) => console.mute(),
            End::Interrupted(_) => self.abort(&server.client).await,
            End::Exit(_) | End::Told(_) => {}
        }
        if !matches!(end, End::Exit(_)) {
            control.kill();
            if timeout(KILL_PATIENCE, &mut exit).await.is_err() {
                tracing::error!(
                    "OpenCode's processes hang in the kernel; they die when it lets them go"
                );
            }
        }
        self.judge(end, &console, &server.hearing).await
    }

    async fn judge(
        &self,
        end: End,
        console: &Console<'_>,
        hearing: &Hearing,
    ) -> Result<Result<AgentReport, HandlerError>, Died> {
        let died = |why: String| {
            let words = format!("{why}; {}", hearing.last_words());
            Err(Died(console.redactor().once(&words)))
        };
        match end {
            End::Interrupted(why) => Ok(Err(HandlerError::Interrupted(why))),
            End::Told(Ok(ended)) => Ok(ended),
            End::Told(Err(error @ CallError::Refused { .. })) => {
                let message = console.redactor().once(&error.to_string());
                Ok(Err(retry("OPENCODE_FAILED", message)))
            }
            End::Told(Err(CallError::Unreachable(why))) => died(why),
            End::Exit(Ok(_)) if console.is_over_limit() => {
                let message = "the run printed too much and was killed";
                Ok(Err(fail("OUTPUT_LIMIT", message)))
            }
            End::Exit(Ok(exit)) => died(format!("it ended with {exit}")),
            End::Exit(Err(lost)) => Ok(Err(lose(&lost, console).await)),
        }
    }

    /// So that the conversation knows that it was ended.
    async fn abort(&self, client: &client::Client) {
        if let Some(session) = self.session() {
            let _ = timeout(ABORT_PATIENCE, client.abort(&session)).await;
        }
    }

    fn session(&self) -> Option<String> {
        let session = self.session.lock();
        session.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_session(&self, id: &str) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        *session = Some(id.to_owned());
    }
}
