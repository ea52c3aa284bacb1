//! Runs that do what the dice say: work for a while, report, and end well, badly, or not at all.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{
    Agent, AgentReport, AgentTask, HandlerError, Interruption, RunContext, TrainingProvider,
    TrainingReport, TrainingTask,
};
use async_trait::async_trait;
use domain::{
    AgentKind, JobError, JobId, LogStream, Progress, TrainingProviderKind, TrainingResult,
};
use futures::FutureExt as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::model::{Broken, Ended};
use crate::process::Process;

/// A run looks up from its work after at most so long.
const STEP_MS: u64 = 400;
/// A run has nothing to say after so many steps.
const TALK: u32 = 12;
/// A run of usual length.
const LENGTH_MS: u64 = 2_500;
/// Winding up takes at most so long; far less than a run is given for it.
const WIND_UP_MS: u64 = 300;
/// How long a run that takes no notice goes on; longer than anybody waits for it.
const STUBBORN: Duration = Duration::from_mins(2);

pub struct Worker(pub Arc<Process>);

#[derive(Debug, Clone, Copy)]
enum Will {
    Complete,
    Fail,
    Transient,
    /// Works on until somebody ends it.
    Hang,
    /// The same, and does not listen.
    Stubborn,
}

/// Says that the run has ended, however it ends.
struct Witness {
    process: Arc<Process>,
    job: Uuid,
    attempt: i64,
}

impl Witness {
    fn begin(process: &Arc<Process>, job: JobId, attempt: u32, checkpoint: Option<&Value>) -> Self {
        let world = &process.world;
        let (job, attempt) = (job.as_uuid(), i64::from(attempt));
        let (alone, latest, name) = world.model(|model| {
            let alone = model.runs.begin(job, attempt, process);
            let latest = model.jobs.get(&job).and_then(|job| job.checkpoint.clone());
            (alone, latest, model.name(job))
        });
        world.note(&[&process.name, "run"], || {
            format!("{:<4}   run {attempt} of {name} begins", process.name)
        });
        if !alone {
            let how = format!(
                "{name} begins on {} while another run goes on",
                process.name
            );
            world.breaks(Broken::new("a job runs once at a time", how));
        }
        if attempt > 1 && latest.as_ref() != checkpoint {
            let how = format!("{name} got {checkpoint:?}, the latest is {latest:?}");
            world.breaks(Broken::new("a run begins where the last one left", how));
        }
        Self {
            process: Arc::clone(process),
            job,
            attempt,
        }
    }

    fn told(&self) {
        let world = &self.process.world;
        world.model(|model| model.runs.tell(self.job, self.attempt));
    }

    fn end(&self, ended: Ended) {
        let world = &self.process.world;
        let name = world.model(|model| {
            model.runs.end(self.job, self.attempt, ended);
            model.name(self.job)
        });
        world.note(&[&self.process.name, "ran"], || {
            let attempt = self.attempt;
            format!(
                "{:<4}   run {attempt} of {name}: {ended:?}",
                self.process.name
            )
        });
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let ran = self
            .process
            .world
            .model(|model| model.runs.of(self.job, self.attempt));
        if ran == Some(Ended::Not) {
            self.end(Ended::Dropped);
        }
    }
}

impl Worker {
    /// One run; `Ok` when it did its work.
    async fn work(
        &self,
        job: JobId,
        attempt: u32,
        checkpoint: Option<Value>,
        context: Arc<dyn RunContext>,
    ) -> Result<(), HandlerError> {
        let witness = Witness::begin(&self.0, job, attempt, checkpoint.as_ref());
        let (will, length) = self.will();
        let result = self.go(will, length, &witness, context.as_ref()).await;
        witness.end(match &result {
            Ok(()) => Ended::Completed,
            Err(HandlerError::Fail(_) | HandlerError::Unfit(_)) => Ended::Failed,
            Err(HandlerError::Retry(_)) => Ended::Transient,
            Err(HandlerError::Yield(_) | HandlerError::Elsewhere(_)) => Ended::Yielded,
            Err(HandlerError::Interrupted(_) | HandlerError::OverBudget { .. }) => {
                Ended::Interrupted
            }
        });
        result
    }

    fn will(&self) -> (Will, Duration) {
        let plan = &self.0.world.plan;
        if let Some(length) = plan.length {
            return (Will::Complete, length);
        }
        self.0.world.dice(|dice| {
            let length = Duration::from_millis(dice.u64(1..LENGTH_MS));
            let mut throw = dice.f64();
            let wills = [
                (plan.stubborn, Will::Stubborn),
                (plan.hanging, Will::Hang),
                (plan.failing, Will::Fail),
                (plan.transient, Will::Transient),
            ];
            for (chance, will) in wills {
                if throw < chance {
                    return (
                        will,
                        if matches!(will, Will::Stubborn | Will::Hang) {
                            STUBBORN
                        } else {
                            length
                        },
                    );
                }
                throw -= chance;
            }
            (Will::Complete, length)
        })
    }

    async fn go(
        &self,
        will: Will,
        mut left: Duration,
        witness: &Witness,
        context: &dyn RunContext,
    ) -> Result<(), HandlerError> {
        let world = &self.0.world;
        let attempt = witness.attempt;
        let mut steps = 0;
        while !left.is_zero() {
            let step = world.dice(|dice| Duration::from_millis(dice.u64(1..=STEP_MS)));
            let step = step.min(left);
            left -= step;
            self.0.rest(step).await;
            steps += 1;
            self.say(steps, attempt, context).await;
            // Looked at, not waited for: whoever waits is woken in an order that is not ours to choose.
            if let Some(why) = context.interrupted().now_or_never() {
                witness.told();
                if !matches!(will, Will::Stubborn) {
                    return self.wind_up(why, attempt, context).await;
                }
            }
        }
        match will {
            Will::Fail => Err(HandlerError::Fail(JobError::new(
                "FAILED",
                "it cannot be done",
            ))),
            Will::Transient => Err(HandlerError::Retry(JobError::new("FLAKY", "it may work"))),
            _ => Ok(()),
        }
    }

    async fn say(&self, step: u32, attempt: i64, context: &dyn RunContext) {
        if step > TALK {
            return;
        }
        match self.0.world.dice(|dice| dice.u8(..20)) {
            0 => {
                let fraction = Some(f64::from(step) / f64::from(step + 1));
                let mut progress = Progress {
                    fraction,
                    ..Progress::default()
                };
                // Counts against the month of its tenant, which may be short.
                progress
                    .data
                    .insert("output_tokens".to_owned(), json!(step));
                context.progress(progress).await;
            }
            1 => {
                context
                    .checkpoint(json!({"attempt": attempt, "step": step}))
                    .await;
            }
            2 => context.log(LogStream::Stdout, "a line\n").await,
            _ => {}
        }
    }

    async fn wind_up(
        &self,
        why: Interruption,
        attempt: i64,
        context: &dyn RunContext,
    ) -> Result<(), HandlerError> {
        if matches!(why, Interruption::Drain | Interruption::Pause) {
            context
                .checkpoint(json!({"attempt": attempt, "step": "drained"}))
                .await;
        }
        let rest = self.0.world.dice(|dice| dice.u64(..WIND_UP_MS));
        self.0.rest(Duration::from_millis(rest)).await;
        Err(HandlerError::Interrupted(why))
    }
}

#[async_trait]
impl Agent for Worker {
    fn kind(&self) -> AgentKind {
        AgentKind::Echo
    }

    async fn run(
        &self,
        task: AgentTask,
        context: Arc<dyn RunContext>,
    ) -> Result<AgentReport, HandlerError> {
        self.work(task.job, task.attempt, task.checkpoint, context)
            .await
            .map(|()| AgentReport::default())
    }
}

#[async_trait]
impl TrainingProvider for Worker {
    fn kind(&self) -> TrainingProviderKind {
        TrainingProviderKind::Subprocess
    }

    async fn run(
        &self,
        task: TrainingTask,
        context: Arc<dyn RunContext>,
    ) -> Result<TrainingReport, HandlerError> {
        self.work(task.job, task.attempt, task.checkpoint, context)
            .await?;
        let result = TrainingResult {
            model_name: "model".to_owned(),
            sha256: String::new(),
            bytes: 0,
            first_loss: None,
            last_loss: None,
            steps: 1,
        };
        Ok(TrainingReport { result })
    }
}
