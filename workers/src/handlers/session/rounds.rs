//! The agent at work, and the rounds in which it mends what its work is found to lack.
//!
//! All rounds are one run: they share its worktree, its limits and its interruption. What the agent said last counts.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use application::ports::{Agent, AgentReport, AgentTask, HandlerError, Interruption, RunContext};
use async_trait::async_trait;
use domain::{Demands, JobError, LogStream, Progress, Pushed, Verified};
use serde_json::Value;

use super::budget::Meter;
use super::{output, verify};
use crate::context::JobContext;
use crate::life::Worker;

/// What came of the agent's work.
#[derive(Default)]
pub(super) struct Worked {
    /// The agent's own words, also when its work was rejected.
    pub report: AgentReport,
    pub verified: Option<Verified>,
    /// What fits the session's schema.
    pub output: Option<Value>,
    pub pushed: Option<Pushed>,
    /// Absent when nothing was there to judge the work, or it was not judged any more.
    pub success: Option<bool>,
    /// What failed is not the agent's work but what was done beside it: no other agent would fare better.
    pub failed_beside: bool,
}

/// What the work was held against.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    Verify,
    Output,
}

/// How often the agent was told of what.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    verify: u32,
    output: u32,
}

impl Told {
    const fn rounds(&mut self, of: Of) -> &mut u32 {
        match of {
            Of::Verify => &mut self.verify,
            Of::Output => &mut self.output,
        }
    }
}

/// Work that is not what was asked for.
pub(super) struct Complaint {
    pub of: Of,
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
    meter: Meter,
) -> (Result<(), HandlerError>, Worked) {
    if let Err(error) = verify::allowed(worker, demands) {
        let made = Worked {
            failed_beside: true,
            ..Worked::default()
        };
        return (Err(error), made);
    }
    task.may_go_on = demands.judge();
    task.output_schema = demands.output.as_ref().map(|output| output.schema.clone());
    let job = task.job;
    let mut made = Worked::default();
    let ear = Arc::new(Ear {
        context: Arc::clone(context),
        checkpoint: Mutex::default(),
        meter,
    });
    let outcome = go_round(worker, agent, demands, task, &ear, &mut made).await;
    let outcome = match outcome {
        Err(HandlerError::Interrupted(why)) => Err(match context.over() {
            Some(over) => ear.meter.end(over),
            None => HandlerError::Interrupted(why),
        }),
        other => other,
    };
    let is_over = matches!(
        outcome,
        Ok(()) | Err(HandlerError::Fail(_) | HandlerError::Unfit(_))
    );
    if demands.judge() && is_over {
        agent.forget(job).await;
    }
    (outcome, made)
}

async fn go_round(
    worker: &Worker,
    agent: &dyn Agent,
    demands: &Demands,
    mut task: AgentTask,
    ear: &Arc<Ear>,
    made: &mut Worked,
) -> Result<(), HandlerError> {
    let context = &ear.context;
    let mut told = Told::default();
    loop {
        made.report = agent
            .run(task.clone(), Arc::clone(ear) as Arc<dyn RunContext>)
            .await?;
        if !demands.judge() {
            return Ok(());
        }
        let judged = judge(worker, demands, &task, context, told, made).await;
        made.failed_beside = judged.is_err();
        let complaint = judged?;
        let Some(complaint) = complaint else {
            made.success = Some(true);
            return Ok(());
        };
        made.success = Some(false);
        let (rounds, limit) = (told.rounds(complaint.of), complaint.rounds);
        if *rounds >= limit {
            return Err(HandlerError::Fail(complaint.error));
        }
        *rounds += 1;
        let line =
            format!("the agent is told what is wrong and goes on: round {rounds} of {limit}\n");
        context.log(LogStream::System, &line).await;
        task.checkpoint = ear.latest().or(task.checkpoint);
        task.feedback = Some(complaint.words);
        task.round += 1;
        task.used = made.report.usage.or(task.used);
        task.account = ear.meter.account_of_agent();
        ear.meter.begin_round();
    }
}

/// What is wrong with the work, if anything is.
async fn judge(
    worker: &Worker,
    demands: &Demands,
    task: &AgentTask,
    context: &Arc<JobContext>,
    told: Told,
    made: &mut Worked,
) -> Result<Option<Complaint>, HandlerError> {
    if let Some(verify) = &demands.verify {
        let (verified, complaint) = verify::run(worker, verify, task, context, told.verify).await?;
        made.verified = Some(verified);
        if complaint.is_some() {
            return Ok(complaint);
        }
    }
    if let Some(demand) = &demands.output {
        match output::judge(demand, &made.report)? {
            Ok(output) => made.output = Some(output),
            Err(complaint) => {
                let line = format!("{}\n", complaint.error.message);
                context.log(LogStream::System, &line).await;
                return Ok(Some(complaint));
            }
        }
    }
    Ok(None)
}

/// Hears what the agent says on its way to the store.
struct Ear {
    context: Arc<JobContext>,
    checkpoint: Mutex<Option<Value>>,
    meter: Meter,
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
        let (progress, spent) = self.meter.take(progress);
        let urgent = spent.is_some_and(|spent| self.meter.is_urgent(spent));
        self.context.spend(progress, spent, urgent);
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
        tokio::select! {
            biased;
            why = self.context.interrupted() => why,
            () = self.context.used_up() => Interruption::Pause,
        }
    }
}
