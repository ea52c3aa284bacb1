//! What the agent `opencode` may do, in a session's words.

use domain::{PermissionAction, PermissionRule};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the agent `opencode` may do with a tool.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PermissionRule)]
pub(crate) struct PermissionRuleBody {
    /// The tool's name in OpenCode, such as `bash`, `edit`, `webfetch`; `*` and `?` stand for others.
    #[schema(example = "bash")]
    pub permission: String,
    /// What it is used on, such as a command line or a path; `*` and `?` stand for others.
    #[schema(example = "rm *")]
    pub pattern: String,
    #[schema(inline)]
    pub action: PermissionActionBody,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PermissionAction)]
pub(crate) enum PermissionActionBody {
    Allow,
    Deny,
}

impl From<PermissionRuleBody> for PermissionRule {
    fn from(rule: PermissionRuleBody) -> Self {
        Self {
            permission: rule.permission,
            pattern: rule.pattern,
            action: match rule.action {
                PermissionActionBody::Allow => PermissionAction::Allow,
                PermissionActionBody::Deny => PermissionAction::Deny,
            },
        }
    }
}

impl From<PermissionRule> for PermissionRuleBody {
    fn from(rule: PermissionRule) -> Self {
        Self {
            permission: rule.permission,
            pattern: rule.pattern,
            action: match rule.action {
                PermissionAction::Allow => PermissionActionBody::Allow,
                PermissionAction::Deny => PermissionActionBody::Deny,
            },
        }
    }
}
