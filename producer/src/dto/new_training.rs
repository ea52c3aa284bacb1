//! The body that asks for a training job.

use std::collections::BTreeMap;

use application::use_cases::Offer;
use chrono::{DateTime, SubsecRound as _, Utc};
use domain::{Dataset, JobId, JobSpec, NewJob, TrainingProviderKind, TrainingSpec, Violations};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::new_job::{
    PriorityBody, RuleBody, default_attempts, default_duration, default_start, instant, labels,
    labels_once, offer,
};
use super::text::check_object;

/// A model to fine-tune.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTraining {
    /// The model to start from, in the provider's own words.
    #[schema(example = "tiny-bigram")]
    pub base_model: String,
    /// What the result is to be called.
    #[schema(example = "shop-reviewer-3")]
    pub target_model_name: String,
    #[serde(default)]
    #[schema(inline)]
    pub provider: ProviderBody,
    pub dataset: DatasetBody,
    /// Handed to the provider as they are: learning rate, steps, ...
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// For people; absent: the target model's name.
    pub title: Option<String>,
    #[serde(default)]
    #[schema(inline, default = "medium")]
    pub priority: PriorityBody,
    /// Wall-clock limit of one run, at most a week.
    #[serde(default = "default_duration")]
    pub max_duration_seconds: u32,
    /// How many runs may fail before the job does.
    #[serde(default = "default_attempts")]
    pub max_attempts: u32,
    /// At most 20, to find the job by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Kept as it is and handed back; at most 16 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Not before this instant.
    #[serde(default, deserialize_with = "instant")]
    pub run_after: Option<DateTime<Utc>>,
    /// By when it must have ended: it fails then if it still waits, and is ended if it runs.
    #[serde(default, deserialize_with = "instant")]
    pub deadline: Option<DateTime<Utc>>,
    /// Labels that a worker must have to run it, such as `{"gpu": "h100"}`.
    #[serde(default, deserialize_with = "labels_once")]
    pub requires: BTreeMap<String, String>,
    /// Jobs that must end well first, by their ids. It is `pending` until then.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// What becomes of it when one of them does not.
    #[serde(default)]
    #[schema(inline, default = "fail")]
    pub if_prerequisite_fails: RuleBody,
    /// False leaves the job `pending` until it is started.
    #[serde(default = "default_start")]
    pub start: bool,
    /// The job that this one belongs to.
    pub parent_id: Option<Uuid>,
}

/// Who does the training.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TrainingProvider)]
pub(crate) enum ProviderBody {
    /// A program on the worker.
    #[default]
    Subprocess,
}

/// A JSONL file on the workers.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Dataset)]
pub(crate) struct DatasetBody {
    /// Absolute path, below one of their configured roots.
    #[schema(example = "/srv/datasets/reviews.jsonl")]
    pub path: String,
}

impl NewTraining {
    /// The job to submit; what is wrong with its values is found by the domain.
    pub fn into_offer(self) -> Result<Offer, Violations> {
        let mut violations = Violations::default();
        check_object("/metadata", &self.metadata, &mut violations);
        check_object("/parameters", &self.parameters, &mut violations);
        violations.or(())?;
        let job = NewJob {
            title: self.title.unwrap_or_else(|| self.target_model_name.clone()),
            priority: self.priority.into(),
            tags: self.tags,
            metadata: self.metadata,
            spec: JobSpec::Training(TrainingSpec {
                base_model: self.base_model,
                target_model_name: self.target_model_name,
                provider: match self.provider {
                    ProviderBody::Subprocess => TrainingProviderKind::Subprocess,
                },
                dataset: Dataset {
                    path: self.dataset.path,
                },
                parameters: self.parameters,
            }),
            max_duration_seconds: self.max_duration_seconds,
            max_attempts: self.max_attempts,
            run_after: self.run_after.map(|at| at.trunc_subsecs(6)),
            deadline: self.deadline.map(|at| at.trunc_subsecs(6)),
            requires: labels(self.requires),
            depends_on: Vec::new(),
            if_prerequisite_fails: self.if_prerequisite_fails.into(),
            start: self.start,
            parent: self.parent_id.map(JobId::from_uuid),
        };
        Ok(offer(job, None, self.depends_on))
    }
}

impl From<TrainingProviderKind> for ProviderBody {
    fn from(kind: TrainingProviderKind) -> Self {
        match kind {
            TrainingProviderKind::Subprocess => Self::Subprocess,
        }
    }
}
