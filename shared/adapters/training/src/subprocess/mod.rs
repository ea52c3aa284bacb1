//! The training provider that runs a program of the operator's choice.
//!
//! The program is called with `--spec FILE`, a JSON object: `job_id`, `attempt`, `base_model`, `target_model_name`,
//! `dataset.path`, `parameters`, `output_dir` (an empty folder, also its working directory) and `checkpoint` (what it last gave,
//! `{"step", "state"}`, or null). It says how it gets on by JSON lines on standard output:
//!
//! ```text
//! {"type":"start","total_steps":200}
//! {"type":"progress","step":10,"total_steps":200,"loss":3.2}
//! {"type":"eval","loss":3.1}
//! {"type":"checkpoint","step":10,"state":{...}}      or "path": a JSON file in output_dir, at most 1 MiB
//! {"type":"done","artifact":"model.json","sha256":"...","bytes":123}
//! {"type":"error","message":"...","retry":false}
//! ```
//!
//! Any other line, and standard error, go to the job's log. SIGTERM means: checkpoint and leave. The training succeeded
//! only if the program ended with exit code 0 and said `done`, and the file it named is there with that hash; exit code 75
//! asks for another attempt. Checkpoints are kept by the store and outlive the run's folder.

mod artifact;
mod messages;
mod outcome;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapter_agents::Environment;
use adapter_agents::failure::fail;
use adapter_agents::guard::{GuardCommand, Launch, RunMark, Started};
use adapter_agents::output::{Console, LineText, OutputLimits, Records};
use adapter_agents::private::PrivateFolder;
use adapter_agents::supervise::{refused, supervise};
use adapter_agents::workspace::{Roots, RootsError};
use application::ports::{
    HandlerError, RunContext, TrainingProvider, TrainingReport, TrainingTask,
};
use async_trait::async_trait;
use domain::{LogStream, TrainingProviderKind};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};

use messages::Observed;

/// Between SIGTERM and SIGKILL: a trainer writes its checkpoint meanwhile.
const GRACE: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 16 * 1024;

pub struct SubprocessTrainer {
    guard: GuardCommand,
    /// Program and leading arguments; `--spec FILE` is added.
    trainer: Vec<OsString>,
    environment: Environment,
    roots: Roots,
    limits: OutputLimits,
}

impl SubprocessTrainer {
    pub fn new(
        guard: GuardCommand,
        trainer: Vec<OsString>,
        environment: Environment,
        roots: Roots,
        limits: OutputLimits,
    ) -> Self {
        Self {
            guard,
            trainer,
            environment,
            roots,
            limits,
        }
    }

    /// The arguments that make the worker's own binary the trainer.
    pub fn of_this_program(subcommand: &str) -> Vec<OsString> {
        vec![OsString::from("/proc/self/exe"), OsString::from(subcommand)]
    }

    async fn start(&self, task: &TrainingTask) -> Result<Started, HandlerError> {
        let dataset = self.dataset(&task.spec.dataset.path)?;
        let private = PrivateFolder::beside(&task.directory);
        private.create()?;
        let spec = spec_file(task, &dataset).to_string();
        let spec = private.write("job.json", spec.as_bytes())?;
        let mut variables = self.environment.variables().to_vec();
        variables.extend(private.variables());
        let mut argv = self.trainer.clone();
        argv.extend([OsString::from("--spec"), spec.into()]);
        let program = argv[0].to_string_lossy().into_owned();
        let launch = Launch {
            argv,
            directory: task.directory.clone(),
            variables,
            mark: RunMark {
                job: task.job,
                attempt: task.attempt,
            },
            // The operator's own program, on data that lies wherever the roots are.
            confined: None,
        };
        let codes = ("TRAINER_NOT_FOUND", "TRAINER_NOT_STARTED");
        let started = self.guard.start(launch).await;
        started.map_err(|error| refused(&error, &program, codes))
    }

    /// The dataset's real path, below one of the roots.
    fn dataset(&self, path: &str) -> Result<PathBuf, HandlerError> {
        let path = self.roots.admit(Path::new(path)).map_err(|error| {
            let code = match error {
                RootsError::Missing(_) | RootsError::Unreadable { .. } => "DATASET_MISSING",
                RootsError::Outside { .. } | RootsError::Closed(_) => "DATASET_OUTSIDE_ROOTS",
            };
            fail(code, format!("the dataset {error}"))
        })?;
        if path.is_file() {
            return Ok(path);
        }
        Err(fail(
            "DATASET_MISSING",
            format!(
                "the dataset {} is not a file; name a JSONL file",
                path.display()
            ),
        ))
    }
}

#[async_trait]
impl TrainingProvider for SubprocessTrainer {
    fn kind(&self) -> TrainingProviderKind {
        TrainingProviderKind::Subprocess
    }

    async fn run(
        &self,
        task: TrainingTask,
        context: Arc<dyn RunContext>,
    ) -> Result<TrainingReport, HandlerError> {
        let Started {
            stdout,
            stderr,
            control,
            mut guard,
        } = self.start(&task).await?;
        let redactor = self.environment.redactor().clone();
        let console = Console::new(context.as_ref(), redactor, self.limits, control.clone());
        let mut observed = Observed::resuming(task.checkpoint.as_ref(), &task.directory);
        let streams = async {
            let (read, ()) = tokio::join!(
                listen(stdout, &console, &mut observed),
                console.pump(LogStream::Stderr, stderr)
            );
            if let Err(error) = read {
                tracing::warn!(%error, "a trainer's output could not be read to its end");
            }
        };
        let exit = supervise(&mut guard, &control, &console, streams, GRACE).await?;
        let done = outcome::done(exit, &observed, &console)?;
        let model = artifact::verify(&task.directory, done).await?;
        context
            .keep_file(&model.name, model.media_type, &model.path)
            .await?;
        Ok(TrainingReport {
            result: observed.result(&task.spec.target_model_name, &model),
        })
    }
}

/// Follows the trainer's standard output to its end.
async fn listen(
    mut stdout: impl AsyncRead + Unpin,
    console: &Console<'_>,
    observed: &mut Observed,
) -> io::Result<()> {
    let mut records = Records::default();
    let mut text = LineText::new(console.redactor().clone());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = stdout.read(&mut buffer).await?;
        console.count(count);
        let mut lines = records.feed(&buffer[..count]);
        if count == 0 {
            lines.extend(records.finish());
        }
        for line in lines {
            if !observed.take(&line, console).await {
                console.show(LogStream::Stdout, &text.feed(&line)).await;
            }
        }
        if count == 0 {
            console.show(LogStream::Stdout, &text.finish()).await;
            break;
        }
    }
    if records.dropped > 0 {
        let dropped = records.dropped;
        console
            .say(&format!(
                "{dropped} lines of the trainer were longer than 1 MiB and were left out"
            ))
            .await;
    }
    Ok(())
}

fn spec_file(task: &TrainingTask, dataset: &Path) -> Value {
    json!({
        "job_id": task.job,
        "attempt": task.attempt,
        "base_model": task.spec.base_model,
        "target_model_name": task.spec.target_model_name,
        "dataset": {"path": dataset},
        "parameters": task.spec.parameters,
        "output_dir": task.directory,
        "checkpoint": messages::for_trainer(task.checkpoint.as_ref()),
    })
}
