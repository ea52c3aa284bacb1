//! A training job: a model is fine-tuned on a dataset by a provider.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Violations;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingSpec {
    /// The model to start from, in the provider's own words.
    pub base_model: String,
    /// What the result is to be called.
    pub target_model_name: String,
    pub provider: TrainingProviderKind,
    pub dataset: Dataset,
    /// Handed to the provider as they are: learning rate, steps, ...
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

/// Who does the training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainingProviderKind {
    /// A program on the worker that speaks JSON lines.
    Subprocess,
}

/// Where the examples are: a JSONL file below one of the workers' configured roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    pub path: String,
}

impl TrainingSpec {
    pub(crate) fn check(&self, violations: &mut Violations) {
        violations.text("/base_model", &self.base_model, 1, 200);
        violations.text("/target_model_name", &self.target_model_name, 1, 200);
        violations.text("/dataset/path", &self.dataset.path, 1, 4096);
        if !self.dataset.path.starts_with('/') {
            violations.add("/dataset/path", "must be an absolute path");
        }
        violations.no_nul("/parameters", &self.parameters);
        if self.parameters.len() > 100 {
            violations.add("/parameters", "has more than 100 entries");
        }
    }
}
