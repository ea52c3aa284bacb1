//! The agent at work, and the rounds in which it mends what its work is found to lack.
//!
//! All rounds are one run: they share its worktree, its limits and its interruption. What the agent said last counts.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use application::ports::{Agent, AgentReport, AgentTask, HandlerError, Interruption, RunContext};
use async_trait::async_trait;
use domain::{Demands, JobError, LogStream, Progress, Verified};
use serde_json::Value;

use super::verify;
use crate::context::JobContext;
use crate::life::Worker;

/// What came of the agent's work.
#[derive(Default)]
pub(super) struct Worked {
    /// The agent's own words, also when its work was rejected.
    pub report: AgentReport,
    pub verified: Option<Verified>,
    /// Absent when nothing was there to judge the work, or it was not judged any more.
    pub success: Option<bool>,
}

/// Work that is not what was asked for.
pub(super) struct Complaint {
    /// When nobody mends it.
    pub error: JobError,
    /// For the agent.
    pub words: String,
    /// How often the agent may be told of such.
    pub rounds: u32,
}

/// Returns the outcome of the run beside what was made.
pub(super) async fn work(
    worker: &Worker,
    agent: &dyn Agent,
    demands: &Demands,
    mut task: AgentTask,
    context: &Arc<JobContext>,
) -> (Result<(), HandlerError>, Worked) {
    if let Err(error) = verify::allowed(worker, demands) {
        return (Err(error), Worked::default());
    }
    task.may_go_on = demands.judge();
    let job = task.job;
    let mut made = Worked::default();
    let outcome = go_round(worker, agent, demands, task, context, &mut made).await;
    if demands.judge() && matches!(outcome, Ok(()) | Err(HandlerError::Fail(_))) {
        agent.forget(job).await;
    }
    (outcome, made)
}

async fn go_round(
    worker: &Worker,
    agent: &dyn Agent,
    demands: &Demands,
    mut task: AgentTask,
    context: &Arc<JobContext>,
    made: &mut Worked,
) -> Result<(), HandlerError> {
    let ear = Arc::new(Ear {
        context: Arc::clone(context),
        checkpoint: Mutex::default(),
    });
    let mut rounds = 0;
    loop {
        made.report = agent.run(task.clone(), ear.clone()).await?;
        if !demands.judge() {
            return Ok(());
        }
        let complaint = judge(worker, demands, &task, context, rounds, made).await?;
        let Some(complaint) = complaint else {
            made.success = Some(true);
            return Ok(());
        };
        made.success = Some(false);
        if rounds >= complaint.rounds {
            return Err(HandlerError::Fail(complaint.error));
        }
        rounds += 1;
        let line = format!(
            "the agent is told what is wrong and goes on: round {rounds} of {}\n",
            complaint.rounds
        );
        context.log(LogStream::System, &line).await;
        task.checkpoint = ear.latest().or(task.checkpoint);
        task.feedback = Some(complaint.words);
    }
}

/// What is wrong with the work, if anything is.
async fn judge(
    worker: &Worker,
    demands: &Demands,
    task: &AgentTask,
    context: &Arc<JobContext>,
    rounds: u32,
    made: &mut Worked,
) -> Result<Option<Complaint>, HandlerError> {
    if let Some(verify) = &demands.verify {
        let (verified, complaint) = verify::run(worker, verify, task, context, rounds).await?;
        made.verified = Some(verified);
        return Ok(complaint);
    }
    Ok(None)
}

/// Hears what the agent says on its way to the store.
struct Ear {
    context: Arc<JobContext>,
    checkpoint: Mutex<Option<Value>>,
}

impl Ear {
    fn latest(&self) -> Option<Value> {
        let checkpoint = self.checkpoint.lock();
        checkpoint.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl RunContext for Ear {
    async fn log(&self, stream: LogStream, text: &str) {
        self.context.log(stream, text).await;
    }

    async fn progress(&self, progress: Progress) {
        self.context.progress(progress).await;
    }

    async fn checkpoint(&self, data: Value) {
        *self
            .checkpoint
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(data.clone());
        self.context.checkpoint(data).await;
    }

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
        self.context.interrupted().await
    }
}
