//! The guard for this crate's tests, and a worker to be killed or frozen.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use adapter_agents::output::OutputLimits;
use adapter_agents::{CommandAgent, Environment, guard};
use application::ports::{Agent, AgentTask, HandlerError, Interruption, RunContext};
use async_trait::async_trait;
use domain::{AgentSpec, Command, JobId, LogStream, Progress, Spent, TenantId};
use serde_json::Value;
use uuid::Uuid;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((first, rest)) if first == "guard" => guard::main(rest),
        Some((first, [directory, line, patience])) if first == "play-worker" => {
            let line = line.to_string_lossy().into_owned();
            match patience.to_string_lossy().parse() {
                Ok(millis) => play_worker(directory.into(), line, Duration::from_millis(millis)),
                Err(_) => ExitCode::from(2),
            }
        }
        _ => ExitCode::from(2),
    }
}

/// Runs one command as a worker does, for as long as it takes. Exit code 75: it should run again.
fn play_worker(directory: PathBuf, line: String, patience: Duration) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        return ExitCode::FAILURE;
    };
    let agent = CommandAgent::new(
        guard::GuardCommand::of_this_program(&["guard"]).with_patience(patience),
        Environment::new(std::env::vars_os(), &[], &[]),
        OutputLimits::default(),
    );
    let task = AgentTask {
        tenant: TenantId::from_uuid(Uuid::nil()),
        job: JobId::from_uuid(Uuid::from_u128(u128::from(std::process::id()))),
        attempt: 1,
        fence: 1,
        title: "played".to_owned(),
        prompt: String::new(),
        agent: AgentSpec::Command(Command::Run(line)),
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
    match runtime.block_on(agent.run(task, Arc::new(Silent))) {
        Ok(_) => ExitCode::SUCCESS,
        Err(HandlerError::Retry(_)) => ExitCode::from(75),
        Err(_) => ExitCode::FAILURE,
    }
}

struct Silent;

#[async_trait]
impl RunContext for Silent {
    async fn log(&self, _: LogStream, _: &str) {}
    async fn progress(&self, _: Progress) {}
    async fn checkpoint(&self, _: Value) {}
    async fn keep_file(&self, _: &str, _: &str, _: &Path) -> Result<(), HandlerError> {
        Ok(())
    }
    async fn keep(&self, _: &str, _: &str, _: Vec<u8>) -> Result<(), HandlerError> {
        Ok(())
    }
    async fn interrupted(&self) -> Interruption {
        std::future::pending().await
    }
}
