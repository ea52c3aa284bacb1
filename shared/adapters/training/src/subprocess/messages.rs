//! What a trainer says, and what is known of the training from it.

use std::fs;
use std::path::{Path, PathBuf};

use adapter_agents::output::{Console, RECORD_BYTES};
use domain::{Progress, TrainingResult};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::artifact::{self, Model};

/// A line of standard output. Members that are not known here are the trainer's own.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Message {
    Start {
        total_steps: Option<u64>,
    },
    Progress {
        step: u64,
        total_steps: Option<u64>,
        loss: Option<f64>,
    },
    Eval {
        loss: f64,
    },
    Checkpoint {
        step: u64,
        state: Option<Value>,
        path: Option<String>,
    },
    Done(Done),
    Error {
        message: String,
        #[serde(default)]
        retry: bool,
    },
}

/// The trainer's claim that there is a model.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Done {
    /// Relative to the output folder.
    pub artifact: String,
    pub sha256: String,
    pub bytes: u64,
}

/// The trainer's own reason for a failure.
#[derive(Debug, Clone)]
pub(super) struct Complaint {
    pub message: String,
    pub retry: bool,
}

#[derive(Debug, Default)]
pub(super) struct Observed {
    output: PathBuf,
    step: u64,
    total_steps: Option<u64>,
    first_loss: Option<f64>,
    last_loss: Option<f64>,
    eval_loss: Option<f64>,
    pub done: Option<Done>,
    pub complaint: Option<Complaint>,
}

impl Observed {
    /// The loss at the very start is that of the first run, which the checkpoint remembers.
    pub(super) fn resuming(checkpoint: Option<&Value>, output: &Path) -> Self {
        Self {
            output: output.to_owned(),
            step: checkpoint
                .and_then(|kept| kept["step"].as_u64())
                .unwrap_or(0),
            first_loss: checkpoint.and_then(|kept| kept["first_loss"].as_f64()),
            ..Self::default()
        }
    }

    /// Takes a line in; false when it is not a message, but something to log.
    pub(super) async fn take(&mut self, line: &[u8], console: &Console<'_>) -> bool {
        let Ok(message) = serde_json::from_slice(line) else {
            return false;
        };
        match message {
            Message::Start { total_steps } => {
                self.total_steps = total_steps;
                let from = self.step;
                let total = total_steps.map_or_else(String::new, |steps| format!(" of {steps}"));
                console
                    .say(&format!("the training starts at step {from}{total}"))
                    .await;
            }
            Message::Progress {
                step,
                total_steps,
                loss,
            } => {
                self.step = step;
                self.total_steps = total_steps.or(self.total_steps);
                self.first_loss = self.first_loss.or(loss);
                self.last_loss = loss.or(self.last_loss);
                self.show_progress(console).await;
            }
            Message::Eval { loss } => {
                self.eval_loss = Some(loss);
                self.show_progress(console).await;
            }
            Message::Checkpoint { step, state, path } => match self.checkpoint(step, state, path) {
                Ok(kept) if !console.is_muted() => console.context().checkpoint(kept).await,
                Ok(_) => {}
                Err(reason) => {
                    let message = format!("a checkpoint was not kept: {reason}");
                    console.say(&message).await;
                }
            },
            Message::Done(done) => self.done = Some(done),
            Message::Error { message, retry } => {
                let message = console.redactor().once(&message.replace('\0', "\u{fffd}"));
                console
                    .say(&format!("the trainer reports an error: {message}"))
                    .await;
                self.complaint = Some(Complaint { message, retry });
            }
        }
        true
    }

    pub(super) fn result(&self, name: &str, model: &Model) -> TrainingResult {
        TrainingResult {
            model_name: name.to_owned(),
            sha256: model.sha256.clone(),
            bytes: model.bytes,
            first_loss: self.first_loss,
            last_loss: self.last_loss,
            steps: self.step,
        }
    }

    async fn show_progress(&self, console: &Console<'_>) {
        if console.is_muted() {
            return;
        }
        let mut words = vec![match self.total_steps {
            Some(total) => format!("step {} of {total}", self.step),
            None => format!("step {}", self.step),
        }];
        let mut data = Map::from_iter([("step".to_owned(), json!(self.step))]);
        if let Some(total) = self.total_steps {
            data.insert("total_steps".to_owned(), json!(total));
        }
        for (name, loss) in [("loss", self.last_loss), ("eval_loss", self.eval_loss)] {
            if let Some(loss) = loss {
                words.push(format!("{} {loss:.4}", name.replace('_', " ")));
                data.insert(name.to_owned(), json!(loss));
            }
        }
        let progress = Progress {
            fraction: self.total_steps.map(|total| fraction(self.step, total)),
            message: Some(words.join(", ")),
            data,
        };
        console.context().progress(progress).await;
    }

    /// What the store keeps of a checkpoint: all of it, since the run's folder goes.
    fn checkpoint(
        &self,
        step: u64,
        state: Option<Value>,
        path: Option<String>,
    ) -> Result<Value, String> {
        let state = match (state, path) {
            (Some(state), _) => state,
            (None, Some(path)) => self.state_in(&path)?,
            (None, None) => return Err("it has neither `state` nor `path`".to_owned()),
        };
        let state = adapter_agents::without_nul(state);
        Ok(json!({"step": step, "state": state, "first_loss": self.first_loss}))
    }

    fn state_in(&self, path: &str) -> Result<Value, String> {
        let path = artifact::inside(&self.output, path)?;
        let size = fs::metadata(&path)
            .map_err(|error| error.to_string())?
            .len();
        if size > RECORD_BYTES as u64 {
            return Err(format!(
                "its file has {size} bytes; at most {RECORD_BYTES} are kept"
            ));
        }
        let bytes = fs::read(&path).map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| format!("its file is not JSON: {error}"))
    }
}

/// What a trainer is handed back of the checkpoint that the store kept.
pub(super) fn for_trainer(kept: Option<&Value>) -> Value {
    kept.map_or(
        Value::Null,
        |kept| json!({"step": kept["step"], "state": kept["state"]}),
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a fraction for people; no training has 2^52 steps"
)]
fn fraction(step: u64, total: u64) -> f64 {
    (step as f64 / total.max(1) as f64).clamp(0.0, 1.0)
}
