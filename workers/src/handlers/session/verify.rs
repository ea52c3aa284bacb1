//! Runs the command that decides whether an agent's work is good.
//!
//! A tenant's command line is a tenant's command line, whoever asked for it: it runs by the agent `command`, below the
//! same guard, and only where the worker's operator allows that agent. What it says of progress and checkpoints is not
//! heard: those are the agent's.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::ports::{Agent, AgentTask, HandlerError, Interruption, RunContext};
use async_trait::async_trait;
use domain::{
    AgentKind, AgentSpec, Command, Demands, JobError, LogStream, Progress, Verified, Verify,
};
use serde_json::Value;
use tokio::time::Instant;

use super::rounds::{Complaint, Of};
use crate::context::JobContext;
use crate::life::Worker;

/// Of a failed command's output, the end is told: there the reasons stand, and a model reads all of it.
const TOLD_BYTES: usize = 16 * 1024;
/// Of what is told, this much stands in the session's error.
const ERROR_BYTES: usize = 1024;

/// Before the agent works: a session that could not be verified is not begun.
pub(super) fn allowed(worker: &Worker, demands: &Demands) -> Result<(), HandlerError> {
    if demands.verify.is_none() || command_agent(worker).is_some() {
        return Ok(());
    }
    let message = "the worker that claimed this session does not run command lines of tenants, so `verify` cannot run; \
                   start workers with --agents command (ORCHESTRATOR_AGENTS) to allow it";
    Err(HandlerError::Fail(JobError::new(
        "VERIFY_NOT_ALLOWED",
        message,
    )))
}

fn command_agent(worker: &Worker) -> Option<&Arc<dyn Agent>> {
    let agents = &worker.tools.agents;
    agents
        .iter()
        .find(|agent| agent.kind() == AgentKind::Command)
}

/// How the command ended.
struct Judged {
    exit_code: Option<i32>,
    passed: bool,
    how: String,
}

/// Runs the command once. `rounds`: how often the agent was told of a failure before.
pub(super) async fn run(
    worker: &Worker,
    verify: &Verify,
    task: &AgentTask,
    context: &Arc<JobContext>,
    rounds: u32,
) -> Result<(Verified, Option<Complaint>), HandlerError> {
    let Some(agent) = command_agent(worker) else {
        let error = JobError::new("VERIFY_NOT_ALLOWED", "the worker runs no command lines");
        return Err(HandlerError::Fail(error));
    };
    let limit = Duration::from_secs(verify.timeout_seconds.into());
    let ear = Arc::new(Ear {
        context: Arc::clone(context),
        until: Instant::now() + limit,
        too_late: AtomicBool::new(false),
        tail: Mutex::default(),
    });
    let line = format!("verify: {}\n", verify.run);
    context.log(LogStream::System, &line).await;
    let command = AgentTask {
        agent: AgentSpec::Command(Command::Run(verify.run.clone())),
        checkpoint: None,
        feedback: None,
        may_go_on: false,
        output_schema: None,
        ..task.clone()
    };
    let ended = agent.run(command, ear.clone()).await;
    let judged = match ended {
        Ok(_) => Judged {
            exit_code: Some(0),
            passed: true,
            how: "passed".to_owned(),
        },
        Err(error) => failed(error, &ear, verify)?,
    };
    let line = format!("verify: {}\n", judged.how);
    context.log(LogStream::System, &line).await;
    let verified = Verified {
        exit_code: judged.exit_code,
        rounds,
        passed: judged.passed,
    };
    let complaint = (!judged.passed).then(|| complain(verify, &judged, &ear.tail(), rounds));
    Ok((verified, complaint))
}

/// What fails for another reason than the work is an error of the run.
fn failed(error: HandlerError, ear: &Ear, verify: &Verify) -> Result<Judged, HandlerError> {
    let judged = |exit_code, how: String| {
        Ok(Judged {
            exit_code,
            passed: false,
            how,
        })
    };
    match error {
        HandlerError::Interrupted(Interruption::Deadline)
            if ear.too_late.load(Ordering::Relaxed) =>
        {
            let seconds = verify.timeout_seconds;
            judged(
                None,
                format!("did not end within {seconds} s and was killed"),
            )
        }
        HandlerError::Fail(error) | HandlerError::Retry(error)
            if let Some(code) = error.exit_code =>
        {
            judged(Some(code), format!("ended with exit code {code}"))
        }
        HandlerError::Fail(error) if error.code == "COMMAND_KILLED" => {
            judged(None, "was killed by a signal".to_owned())
        }
        HandlerError::Fail(error) if error.code == "OUTPUT_LIMIT" => {
            judged(None, "printed too much and was killed".to_owned())
        }
        other => Err(other),
    }
}

fn complain(verify: &Verify, judged: &Judged, tail: &str, rounds: u32) -> Complaint {
    let (line, how) = (&verify.run, &judged.how);
    let said = if tail.trim().is_empty() {
        "It printed nothing.".to_owned()
    } else {
        format!("The end of what it printed:\n\n{}", tail.trim_end())
    };
    let told = match rounds {
        0 => String::new(),
        1 => ", after the agent was told once".to_owned(),
        _ => format!(", after the agent was told {rounds} times"),
    };
    let end = last(tail.trim_end(), ERROR_BYTES);
    let message = if end.is_empty() {
        format!("`{line}` {how}{told}; it printed nothing")
    } else {
        format!("`{line}` {how}{told}; its last words:\n{end}")
    };
    let mut error = JobError::new("VERIFY_FAILED", message);
    error.exit_code = judged.exit_code;
    Complaint {
        of: Of::Verify,
        error,
        words: format!(
            "Your work was checked in this same folder with `{line}`, which {how}. {said}\n\nMend what is wrong, so that \
             this command succeeds."
        ),
        rounds: verify.rounds,
    }
}

/// The end of `text`, at most `bytes` long.
fn last(text: &str, bytes: usize) -> &str {
    let start = text.len().saturating_sub(bytes);
    &text[text.ceil_char_boundary(start)..]
}

/// Hears the command, and tells it when its time is over.
struct Ear {
    context: Arc<JobContext>,
    until: Instant,
    too_late: AtomicBool,
    tail: Mutex<VecDeque<u8>>,
}

impl Ear {
    fn tail(&self) -> String {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(tail.make_contiguous());
        // A character that was cut in half.
        text.trim_start_matches('\u{fffd}').to_owned()
    }
}

#[async_trait]
impl RunContext for Ear {
    async fn log(&self, stream: LogStream, text: &str) {
        if stream != LogStream::System {
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend(text.as_bytes());
            let beyond = tail.len().saturating_sub(TOLD_BYTES);
            tail.drain(..beyond);
        }
        self.context.log(stream, text).await;
    }

    async fn progress(&self, _: Progress) {}

    async fn checkpoint(&self, _: Value) {}

    async fn keep_file(
        &self,
        name: &str,
        media_type: &str,
        path: &Path,
    ) -> Result<(), HandlerError> {
        self.context.keep_file(name, media_type, path).await
    }

    async fn keep(&self, name: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), HandlerError> {
        self.context.keep(name, media_type, bytes).await
    }

    async fn interrupted(&self) -> Interruption {
        tokio::select! {
            biased;
            why = self.context.interrupted() => why,
            () = tokio::time::sleep_until(self.until) => {
                self.too_late.store(true, Ordering::Relaxed);
                Interruption::Deadline
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_tells_the_agent_and_the_reader() {
        let verify = Verify {
            run: "make test".to_owned(),
            rounds: 2,
            timeout_seconds: 60,
        };
        let judged = Judged {
            exit_code: Some(2),
            passed: false,
            how: "ended with exit code 2".to_owned(),
        };
        let complaint = complain(&verify, &judged, "one\ntwo\n", 1);
        assert_eq!(complaint.error.exit_code, Some(2));
        let message = complaint.error.message;
        assert!(
            message.contains("`make test` ended with exit code 2, after the agent was told once"),
            "{message}"
        );
        assert!(
            complaint.words.contains("one\ntwo\n\nMend"),
            "{}",
            complaint.words
        );
        let silent = complain(&verify, &judged, "\n", 0).error.message;
        assert!(silent.ends_with("code 2; it printed nothing"), "{silent}");
        assert_eq!(last("größe", 4), "ße");
        assert_eq!(last("ab", 9), "ab");
    }
}
