//! What the trainer is asked to do.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Problem;
use super::model::Model;

const STEPS_MAX: u64 = 10_000_000;
const BATCH_MAX: u64 = 4096;
const RATE_MAX: f32 = 10.0;

/// The file behind `--spec`.
#[derive(Debug, Deserialize)]
pub(super) struct JobFile {
    pub base_model: String,
    pub target_model_name: String,
    pub dataset: DatasetFile,
    #[serde(default, deserialize_with = "as_raw")]
    parameters: Map<String, Value>,
    pub output_dir: PathBuf,
    pub checkpoint: Option<Checkpoint>,
    #[serde(skip)]
    pub settings: Settings,
}

#[derive(Debug, Deserialize)]
pub(super) struct DatasetFile {
    pub path: PathBuf,
}

/// Where an earlier run stopped.
#[derive(Debug, Deserialize)]
pub(super) struct Checkpoint {
    pub step: u64,
    pub state: State,
}

#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub seed: u64,
    pub parameters: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    pub steps: u64,
    pub batch: u64,
    pub learning_rate: f32,
    pub seed: u64,
    /// 0: a tenth of the steps.
    checkpoint_every: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            steps: 200,
            batch: 32,
            learning_rate: 0.5,
            seed: 0,
            checkpoint_every: 0,
        }
    }
}

impl JobFile {
    pub(super) fn parse(text: &[u8]) -> Result<Self, Problem> {
        let mut job: Self = serde_json::from_slice(text)
            .map_err(|error| Problem(format!("the job's file is not understood: {error}")))?;
        let parameters = Value::Object(std::mem::take(&mut job.parameters));
        job.settings = serde_json::from_value(parameters)
            .map_err(|error| Problem(format!("`parameters` are not understood: {error}")))?;
        job.settings.check()?;
        Ok(job)
    }

    /// The model to go on with, and the step it has reached.
    pub(super) fn start(&self) -> Result<(Model, u64), Problem> {
        let Some(checkpoint) = &self.checkpoint else {
            return Ok((Model::fresh(self.settings.seed), 0));
        };
        if checkpoint.state.seed != self.settings.seed {
            return Err(Problem(format!(
                "the checkpoint belongs to seed {}, and the job has seed {}",
                checkpoint.state.seed, self.settings.seed
            )));
        }
        let model = Model::from_hex(&checkpoint.state.parameters)?;
        Ok((model, checkpoint.step))
    }
}

impl Settings {
    pub(super) fn checkpoint_every(&self) -> u64 {
        match self.checkpoint_every {
            0 => (self.steps / 10).max(1),
            every => every,
        }
    }

    fn check(&self) -> Result<(), Problem> {
        let range = |name: &str, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(Problem(format!(
                "`parameters.{name}` is {value}; it must be between 1 and {max}"
            )))
        };
        range("steps", self.steps, STEPS_MAX)?;
        range("batch", self.batch, BATCH_MAX)?;
        if self.learning_rate > 0.0 && self.learning_rate <= RATE_MAX {
            return Ok(());
        }
        Err(Problem(format!(
            "`parameters.learning_rate` is {}; it must be above 0 and at most {RATE_MAX}",
            self.learning_rate
        )))
    }
}

/// `null` stands for no parameters.
fn as_raw<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Map<String, Value>, D::Error> {
    Option::<Map<String, Value>>::deserialize(from).map(Option::unwrap_or_default)
}
