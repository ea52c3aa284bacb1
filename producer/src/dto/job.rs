//! A job as the API shows it, whatever its kind.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{Job, JobError, JobKind, JobResult, JobSpec, JobState, Progress};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::demands::{BudgetBody, PushBody, VerifyBody};
use super::new_job::{PriorityBody, RuleBody};
use super::new_training::{DatasetBody, ProviderBody};
use super::repository::RepositoryBody;
use super::session_agent::AgentBody;

/// A session or a training job. `prompt`, `agent`, `repository`, `keep`, `verify`, `push`, `output_schema`,
/// `output_rounds` and `budget` are a session's; `base_model`,
/// `target_model_name`, `provider`, `dataset` and `parameters` a training job's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub(crate) struct JobBody {
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub kind: KindBody,
    pub status: StateBody,
    pub title: String,
    pub priority: PriorityBody,
    /// Runs so far; the number of the present run while it runs.
    pub attempt: u32,
    /// Runs that count against `max_attempts`.
    pub failures: u32,
    pub max_attempts: u32,
    /// Wall-clock limit of one run.
    pub max_duration_seconds: u32,
    pub tags: Vec<String>,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    #[serde(flatten)]
    #[schema(inline)]
    pub spec: SpecBody,
    /// What the run last said about itself. When the next run begins, only `data` stays.
    pub progress: Option<ProgressBody>,
    /// What the run left behind: `summary`, `exit_code`, `diff` (`files`, `insertions`, `deletions`),
    /// `usage` (`input_tokens`, `output_tokens`, `cost`), `success`, `verify` (`exit_code`, `rounds`, `passed`), `output`,
    /// `push` (`branch`, `commit`), `quality` and `confidence` (0 to 1) of a session;
    /// `model_name`, `sha256`, `bytes`, `first_loss`, `last_loss` and `steps` of a training job.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Map<String, Value>>,
    /// Why the latest run failed, or was paused by its budget.
    pub error: Option<JobErrorBody>,
    /// Who runs it now.
    pub worker_id: Option<Uuid>,
    pub parent_id: Option<Uuid>,
    /// Not before this instant.
    pub run_after: Option<DateTime<Utc>>,
    /// By when it must have ended.
    pub deadline: Option<DateTime<Utc>>,
    /// Labels that a worker must have to run it.
    pub requires: BTreeMap<String, String>,
    /// Jobs that must end well first.
    pub depends_on: Vec<Uuid>,
    #[schema(inline)]
    pub if_prerequisite_fails: RuleBody,
    /// True when a running job was asked to stop and its worker has not ended it yet.
    pub stop_requested: bool,
    /// True when a running job was asked to pause and its worker has not ended the run yet.
    pub pause_requested: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// When it last began to wait.
    pub queued_at: Option<DateTime<Utc>>,
    /// When its latest run began.
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// The fields that differ by kind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum SpecBody {
    Session {
        prompt: String,
        agent: Box<AgentBody>,
        repository: Option<RepositoryBody>,
        keep: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        verify: Option<VerifyBody>,
        #[serde(skip_serializing_if = "Option::is_none")]
        push: Option<PushBody>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Object>)]
        output_schema: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        output_rounds: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        budget: Option<BudgetBody>,
    },
    Training {
        base_model: String,
        target_model_name: String,
        provider: ProviderBody,
        dataset: DatasetBody,
        #[schema(value_type = Object)]
        parameters: Map<String, Value>,
    },
}

/// The kinds of jobs.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobKind)]
pub(crate) enum KindBody {
    Session,
    Training,
}

/// The states of a job.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobState)]
pub(crate) enum StateBody {
    Pending,
    Queued,
    Running,
    Paused,
    Degraded,
    Completed,
    PartiallyCompleted,
    Failed,
    Timeout,
    Stopped,
    Cancelled,
    Orphaned,
}

/// How far a run is, as it says itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Progress)]
pub(crate) struct ProgressBody {
    /// 0 to 1, when the run knows.
    pub fraction: Option<f64>,
    pub message: Option<String>,
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
}

/// Why a run failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobError)]
pub(crate) struct JobErrorBody {
    /// Stable, for programs.
    #[schema(example = "COMMAND_FAILED")]
    pub code: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// A page of jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobPage {
    pub items: Vec<JobBody>,
    /// Hand it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        Self {
            id: job.id.as_uuid(),
            tenant_id: job.tenant.as_uuid(),
            kind: job.kind().into(),
            status: job.state().into(),
            title: job.title,
            priority: job.priority.into(),
            attempt: job.attempt,
            failures: job.failures,
            max_attempts: job.max_attempts,
            max_duration_seconds: job.max_duration_seconds,
            tags: job.tags,
            metadata: job.metadata,
            progress: job.progress.map(ProgressBody::from),
            result: job.result.map(result_fields),
            error: job.error.map(JobErrorBody::from),
            worker_id: job.status.claim().map(|claim| claim.worker.as_uuid()),
            parent_id: job.parent.map(domain::JobId::as_uuid),
            run_after: job.run_after,
            deadline: job.deadline,
            requires: job.requires.without_agent().0,
            depends_on: job
                .depends_on
                .into_iter()
                .map(domain::JobId::as_uuid)
                .collect(),
            if_prerequisite_fails: job.if_prerequisite_fails.into(),
            stop_requested: job.status.claim().is_some() && job.stop_requested_at.is_some(),
            pause_requested: job.status.claim().is_some() && job.pause_requested_at.is_some(),
            created_at: job.created_at,
            updated_at: job.updated_at,
            queued_at: job.queued_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            spec: job.spec.into(),
        }
    }
}

/// The result without its tag: the job's kind says it already.
fn result_fields(result: JobResult) -> Map<String, Value> {
    match serde_json::to_value(result) {
        Ok(Value::Object(mut fields)) => {
            fields.remove("kind");
            fields
        }
        // A result is a struct of texts and numbers, which always becomes an object.
        _ => Map::new(),
    }
}

impl From<JobSpec> for SpecBody {
    fn from(spec: JobSpec) -> Self {
        match spec {
            JobSpec::Session(session) => Self::Session {
                prompt: session.prompt,
                agent: Box::new(session.agent.into()),
                repository: session.repository.map(RepositoryBody::from),
                keep: session.keep,
                verify: session.demands.verify.map(VerifyBody::from),
                push: session.demands.push.map(PushBody::from),
                budget: session.demands.budget.map(BudgetBody::from),
                output_rounds: session.demands.output.as_ref().map(|output| output.rounds),
                output_schema: session.demands.output.map(|output| output.schema),
            },
            JobSpec::Training(training) => Self::Training {
                base_model: training.base_model,
                target_model_name: training.target_model_name,
                provider: training.provider.into(),
                dataset: DatasetBody {
                    path: training.dataset.path,
                },
                parameters: training.parameters,
            },
        }
    }
}

impl From<JobKind> for KindBody {
    fn from(kind: JobKind) -> Self {
        match kind {
            JobKind::Session => Self::Session,
            JobKind::Training => Self::Training,
        }
    }
}

impl From<JobState> for StateBody {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Pending => Self::Pending,
            JobState::Queued => Self::Queued,
            JobState::Running => Self::Running,
            JobState::Paused => Self::Paused,
            JobState::Degraded => Self::Degraded,
            JobState::Completed => Self::Completed,
            JobState::PartiallyCompleted => Self::PartiallyCompleted,
            JobState::Failed => Self::Failed,
            JobState::Timeout => Self::Timeout,
            JobState::Stopped => Self::Stopped,
            JobState::Cancelled => Self::Cancelled,
            JobState::Orphaned => Self::Orphaned,
        }
    }
}

impl From<Progress> for ProgressBody {
    fn from(progress: Progress) -> Self {
        Self {
            fraction: progress.fraction,
            message: progress.message,
            data: progress.data,
        }
    }
}

impl From<JobError> for JobErrorBody {
    fn from(error: JobError) -> Self {
        Self {
            code: error.code,
            message: error.message,
            exit_code: error.exit_code,
        }
    }
}
