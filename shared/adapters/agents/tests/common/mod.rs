//! What the stories of this crate share.
#![expect(
    dead_code,
    clippy::unwrap_used,
    reason = "each story file uses the part of it that it needs; a helper of a test may panic as the test does"
)]

pub mod played;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_agents::guard::GuardCommand;
use adapter_agents::output::OutputLimits;
use adapter_agents::{CommandAgent, Environment};
use application::ports::{Agent, AgentReport, AgentTask, HandlerError};
use application::testing::run_context::RecordingContext;
use domain::{AgentSpec, Command, JobId, Spent, TenantId};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

pub const HELPER: &str = env!("CARGO_BIN_EXE_agents-test-helper");

/// One run in a folder of its own.
pub struct Run {
    pub folder: TempDir,
    pub context: Arc<RecordingContext>,
    pub task: AgentTask,
}

impl Run {
    pub fn shell(line: &str) -> Self {
        Self::of(Command::Run(line.to_owned()))
    }

    pub fn argv(argv: &[&str]) -> Self {
        Self::of(Command::Argv(
            argv.iter().map(|&arg| arg.to_owned()).collect(),
        ))
    }

    fn of(command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("tree");
        fs::create_dir(&directory).unwrap();
        let task = AgentTask {
            tenant: TenantId::from_uuid(Uuid::from_u128(1)),
            job: new_job(),
            attempt: 1,
            fence: 1,
            title: "a story".to_owned(),
            prompt: "do it".to_owned(),
            agent: AgentSpec::Command(command),
            directory,
            max_duration_seconds: 60,
            checkpoint: None,
            restored: false,
            account: Some(Spent::default()),
            feedback: None,
            round: 0,
            used: None,
            may_go_on: false,
            output_schema: None,
        };
        Self {
            folder,
            context: Arc::new(RecordingContext::default()),
            task,
        }
    }

    pub fn with_checkpoint(mut self, checkpoint: Value) -> Self {
        self.task.checkpoint = Some(checkpoint);
        self
    }

    pub fn directory(&self) -> &Path {
        &self.task.directory
    }

    pub async fn by(&self, agent: &CommandAgent) -> Result<AgentReport, HandlerError> {
        agent.run(self.task.clone(), self.context.clone()).await
    }

    pub async fn run(&self) -> Result<AgentReport, HandlerError> {
        self.by(&agent(&[], &[])).await
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests need ids that no other run on the machine has"
)]
pub fn new_job() -> JobId {
    JobId::from_uuid(Uuid::now_v7())
}

pub fn guard_command() -> GuardCommand {
    GuardCommand::new(HELPER, &["guard"])
}

pub fn environment(more: &[(&str, &str)], allowed: &[&str], secrets: &[&str]) -> Environment {
    let own = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    let more = more
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Environment::new(
        std::env::vars_os().chain(more),
        &own(allowed),
        &own(secrets),
    )
}

/// `more` are variables of the worker; those in `secrets` are taken out of logs.
pub fn agent(more: &[(&str, &str)], secrets: &[&str]) -> CommandAgent {
    CommandAgent::new(
        guard_command(),
        environment(more, &[], secrets),
        OutputLimits::default(),
    )
}

/// The process id that a run wrote into a file.
pub fn pid_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// True while the process does something; a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    })
}

/// Looks again and again until it is so; half a minute without it breaks the test.
pub async fn eventually<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "never so: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn error_of<T: std::fmt::Debug>(result: Result<T, HandlerError>) -> domain::JobError {
    match result.unwrap_err() {
        HandlerError::Fail(error) | HandlerError::Unfit(error) | HandlerError::Retry(error) => {
            error
        }
        other => panic!("{other}"),
    }
}
