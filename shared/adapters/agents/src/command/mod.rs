//! The agent that runs a command line in the worktree.
//!
//! What the command sees: the allowed environment, a home and a temporary folder of its own, and
//!
//! - `ORCHESTRATOR_JOB_ID`, `ORCHESTRATOR_ATTEMPT`
//! - `ORCHESTRATOR_WORKER`: of use to the worker only, which finds what a dead one left by it
//! - `ORCHESTRATOR_PROMPT_FILE`: the session's prompt; `ORCHESTRATOR_PROMPT` holds it as well while it is short
//! - `ORCHESTRATOR_CHECKPOINT`: a JSON file with the last checkpoint, when there is one
//! - `ORCHESTRATOR_FEEDBACK_FILE`: what is wrong with the work that the command did here before, when it is run again to
//!   mend that; `ORCHESTRATOR_FEEDBACK` holds it as well while it is short
//! - `ORCHESTRATOR_OUTPUT`: where to write the session's structured output, when it asks for one; `output.json` in the
//!   worktree is taken too. `ORCHESTRATOR_OUTPUT_SCHEMA`: a file with the JSON schema that it must fit
//! - `ORCHESTRATOR_PROGRESS`: where to write progress and checkpoints, one JSON object a line
//!
//! Exit code 0 completes the session, 75 asks for another attempt, anything else fails it.

mod outcome;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Agent, AgentReport, AgentTask, HandlerError, RunContext};
use async_trait::async_trait;
use domain::{AgentKind, AgentSpec, Command, LogStream};
use futures::future::{join, select};

use crate::environment::Environment;
use crate::failure::{self, fail};
use crate::guard::{GuardCommand, Launch, RunMark, Started};
use crate::handed;
use crate::output::{Console, OutputLimits};
use crate::private::PrivateFolder;
use crate::progress::ProgressPipe;
use crate::supervise::{refused, supervise};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// A longer text is in its file only: a single variable holds 128 KiB at most.
const TEXT_VARIABLE_BYTES: usize = 32 * 1024;

pub struct CommandAgent {
    guard: GuardCommand,
    environment: Environment,
    limits: OutputLimits,
}

impl CommandAgent {
    pub fn new(guard: GuardCommand, environment: Environment, limits: OutputLimits) -> Self {
        Self {
            guard,
            environment,
            limits,
        }
    }

    async fn start(
        &self,
        task: &AgentTask,
        command: &Command,
    ) -> Result<(Started, ProgressPipe), HandlerError> {
        if !task.directory.is_dir() {
            return Err(failure::retry(
                "WORKER_FILES",
                format!("the run's folder {} is gone", task.directory.display()),
            ));
        }
        let private = PrivateFolder::beside(&task.directory);
        private.create()?;
        let pipe_path = private.file("progress");
        let pipe = ProgressPipe::create(&pipe_path)?;
        let mut variables = self.environment.variables().to_vec();
        variables.extend(private.variables());
        variables.extend(hand_over(task, &private)?);
        variables.push(("ORCHESTRATOR_PROGRESS".into(), pipe_path.into()));
        let launch = Launch {
            argv: argv(command),
            directory: task.directory.clone(),
            variables,
            mark: RunMark {
                job: task.job,
                attempt: task.attempt,
            },
            confined: Some(private.confine(&task.directory)),
        };
        let started = self.guard.start(launch).await;
        let started = started.map_err(|error| {
            refused(
                &error,
                &self.name(command),
                ("COMMAND_NOT_FOUND", "COMMAND_NOT_STARTED"),
            )
        })?;
        Ok((started, pipe))
    }

    /// What messages call the command.
    fn name(&self, command: &Command) -> String {
        const NAME_CHARS: usize = 80;
        let name = match command {
            Command::Argv(argv) => argv.first().map_or("", String::as_str),
            Command::Run(line) => line.lines().next().unwrap_or_default(),
        };
        let name = self.environment.redactor().once(name);
        if name.chars().count() <= NAME_CHARS {
            return name;
        }
        let start: String = name.chars().take(NAME_CHARS).collect();
        format!("{start}...")
    }
}

#[async_trait]
impl Agent for CommandAgent {
    fn kind(&self) -> AgentKind {
        AgentKind::Command
    }

    async fn run(
        &self,
        task: AgentTask,
        context: Arc<dyn RunContext>,
    ) -> Result<AgentReport, HandlerError> {
        let AgentSpec::Command(command) = &task.agent else {
            return Err(fail(
                "AGENT_MISMATCH",
                format!(
                    "the session asks for the agent `{}`, and `command` was given it",
                    task.agent.kind()
                ),
            ));
        };
        let (started, mut pipe) = self.start(&task, command).await?;
        let Started {
            stdout,
            stderr,
            control,
            mut guard,
        } = started;
        let redactor = self.environment.redactor().clone();
        let console = Console::new(context.as_ref(), redactor, self.limits, control.clone());
        let streams = async {
            let printed = join(
                console.pump(LogStream::Stdout, stdout),
                console.pump(LogStream::Stderr, stderr),
            );
            select(Box::pin(printed), Box::pin(pipe.follow(&console))).await;
            pipe.drain(&console).await;
        };
        let exit = supervise(&mut guard, &control, &console, streams, GRACE).await?;
        let behind = guard.left_behind();
        let mut report = outcome::report(exit, &behind, &self.name(command), &console)?;
        if task.output_schema.is_some() {
            report.output = handed::read(&task.directory, console.redactor());
        }
        Ok(report)
    }
}

fn argv(command: &Command) -> Vec<OsString> {
    match command {
        Command::Argv(argv) => argv.iter().map(OsString::from).collect(),
        Command::Run(line) => ["/bin/sh", "-c", line].map(OsString::from).to_vec(),
    }
}

/// Writes the prompt and the checkpoint where the command finds them.
fn hand_over(
    task: &AgentTask,
    private: &PrivateFolder,
) -> Result<Vec<(OsString, OsString)>, HandlerError> {
    let prompt = private.write("prompt.txt", task.prompt.as_bytes())?;
    let mut variables = vec![("ORCHESTRATOR_PROMPT_FILE".into(), prompt.into())];
    if task.prompt.len() <= TEXT_VARIABLE_BYTES {
        variables.push(("ORCHESTRATOR_PROMPT".into(), OsString::from(&task.prompt)));
    }
    if let Some(feedback) = &task.feedback {
        let feedback = feedback.replace('\0', "\u{fffd}");
        let path = private.write("feedback.txt", feedback.as_bytes())?;
        variables.push(("ORCHESTRATOR_FEEDBACK_FILE".into(), path.into()));
        if feedback.len() <= TEXT_VARIABLE_BYTES {
            variables.push(("ORCHESTRATOR_FEEDBACK".into(), feedback.into()));
        }
    }
    if let Some(schema) = &task.output_schema {
        let path = private.write("output_schema.json", schema.to_string().as_bytes())?;
        variables.push(("ORCHESTRATOR_OUTPUT_SCHEMA".into(), path.into()));
        variables.push(("ORCHESTRATOR_OUTPUT".into(), handed::place(private).into()));
    }
    if let Some(checkpoint) = &task.checkpoint {
        let path = private.write("checkpoint.json", checkpoint.to_string().as_bytes())?;
        variables.push(("ORCHESTRATOR_CHECKPOINT".into(), path.into()));
    }
    Ok(variables)
}
