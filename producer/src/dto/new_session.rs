//! The body that asks for a coding session; `offer` makes a job of it.

mod offer;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::demands::{BudgetBody, PushBody, VerifyBody};
use super::new_job::{
    PriorityBody, RuleBody, default_attempts, default_duration, default_start, instant, labels_once,
};
use super::repository::RepositoryBody;
use super::session_agent::AgentBody;

/// A coding session to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSession {
    /// For people; 1 to 200 characters.
    #[schema(example = "count public items")]
    pub title: String,
    /// What the agent is asked to do.
    #[serde(default)]
    pub prompt: String,
    #[serde(default)]
    #[schema(inline, default = "medium")]
    pub priority: PriorityBody,
    /// Wall-clock limit of one run, at most a week.
    #[serde(default = "default_duration")]
    pub max_duration_seconds: u32,
    /// How many runs may fail before the session does.
    #[serde(default = "default_attempts")]
    pub max_attempts: u32,
    /// At most 20, to find the session by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Kept as it is and handed back; at most 16 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Which agent does the work; or leave it out and name `capabilities`.
    pub agent: Option<AgentBody>,
    /// Instead of `agent`: what the agent must be able to do, at most 50. When the session is claimed, the best of the
    /// registered agents that can take it gets it; until there is one, it waits.
    #[schema(example = json!(["code_review"]))]
    pub capabilities: Option<BTreeSet<String>>,
    /// With `capabilities`: the agent's least tier, 1 to 5.
    pub min_tier: Option<u8>,
    /// With `capabilities`: labels that the agent must have.
    #[serde(default, deserialize_with = "labels_once")]
    pub agent_labels: BTreeMap<String, String>,
    /// With `capabilities`: an agent to prefer, by name or id.
    pub preferred_agent: Option<String>,
    /// With `capabilities`: a kind of agents to prefer: `echo`, `command`, `opencode`, `eap` or `external`.
    pub preferred_kind: Option<String>,
    /// With `capabilities`: files of the worktree that an agent which works elsewhere (`eap`, `external`) is handed, at most
    /// 100 relative paths. Other agents see the whole worktree.
    #[serde(default)]
    pub files: Vec<String>,
    /// With `capabilities`: what kind of work it is, in words that an agent which works elsewhere knows; at most 64
    /// characters. Absent: what the agent is registered with, or `coding`.
    pub task_type: Option<String>,
    /// With `capabilities`: handed as it is to an agent which works elsewhere, over what the agent is registered with; at
    /// most 16 KiB. Other agents do not see it.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub input_data: Map<String, Value>,
    /// With `capabilities`: false refuses the session with 503 if no agent could take it now. For single sessions only.
    pub wait: Option<bool>,
    /// Absent: the agent works in an empty folder.
    pub repository: Option<RepositoryBody>,
    /// Files of the worktree to keep as artifacts, as relative paths.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Decides whether the agent's work is good: runs in the worktree when the agent is done.
    pub verify: Option<VerifyBody>,
    /// After success, pushes what changed to the repository, as one commit on a branch that nobody else uses.
    pub push: Option<PushBody>,
    /// A JSON schema that refers to nothing outside of itself, at most 64 KiB: the agent hands over JSON that fits it.
    #[schema(value_type = Option<Object>)]
    pub output_schema: Option<Value>,
    /// How often, 0 to 5, what does not fit is told to the agent, which then goes on.
    pub output_rounds: Option<u32>,
    /// What it may use before it pauses to ask, or stops.
    pub budget: Option<BudgetBody>,
    /// Not before this instant.
    #[serde(default, deserialize_with = "instant")]
    pub run_after: Option<DateTime<Utc>>,
    /// By when it must have ended: it fails then if it still waits, and is ended if it runs.
    #[serde(default, deserialize_with = "instant")]
    pub deadline: Option<DateTime<Utc>>,
    /// Labels that a worker must have to run it, such as `{"gpu": "h100"}`.
    #[serde(default, deserialize_with = "labels_once")]
    pub requires: BTreeMap<String, String>,
    /// What others of the same bulk request may call it in their `depends_on`; for bulk requests only.
    pub name: Option<String>,
    /// Jobs that must end well first: their ids, or names of others in the same bulk request. It is `pending` until then.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// What becomes of it when one of them does not.
    #[serde(default)]
    #[schema(inline, default = "fail")]
    pub if_prerequisite_fails: RuleBody,
    /// False leaves the session `pending` until it is started.
    #[serde(default = "default_start")]
    pub start: bool,
    /// The job that this one belongs to.
    pub parent_id: Option<Uuid>,
}

/// Sessions to create together: all or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSessions {
    /// 1 to 1,000.
    pub sessions: Vec<NewSession>,
}

/// The sessions that were created, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedSessions {
    pub ids: Vec<Uuid>,
}
