//! The agent that a session names: one shape for all kinds, as bodies and answers say it.

mod spec;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::permission::PermissionRuleBody;
use super::routing::RouteBody;

/// Which agent does the work. `echo` answers at once, or after a delay; `command` runs a program; `opencode` lets a model
/// work on what the prompt says; `eap` gives the work to an external agent that the workers' operator has configured.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Agent)]
pub(crate) struct AgentBody {
    /// `echo`, `command`, `opencode` or `eap`.
    #[schema(example = "command")]
    pub kind: String,
    /// For `command`: a program and its arguments. Either this or `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// For `command`: a line for `/bin/sh -c`. Either this or `argv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// For `echo`: how long to wait before the answer, at most 3,600; absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<u32>,
    /// For `opencode`: provider and model, as the workers' configuration names them; absent: what the worker prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "anthropic/claude-sonnet-4-5")]
    pub model: Option<String>,
    /// For `opencode`: one of the configurations with providers that the workers' operator has named; absent: the tenant's
    /// own, or the one that is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "research")]
    pub providers: Option<String>,
    /// For `opencode`: at most 100 rules, of which the last that fits a use of a tool decides. What no rule names is
    /// allowed, within what the worker allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<PermissionRuleBody>>,
    /// For `eap`: the agent, by the name that it has in the workers' configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "reviewer")]
    pub name: Option<String>,
    /// For `eap`: what kind of work it is, in words that the agent knows; absent: `coding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// For `eap`: files of the worktree that the agent is handed, at most 100, as relative paths; text, 256 KiB each and
    /// 1 MiB together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    /// For `eap`: handed to the agent as it is; at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub input_data: Option<Map<String, Value>>,
    /// For `routed`, as sessions that name `capabilities` are shown: what is asked of the agent to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Box<RouteBody>>,
}
