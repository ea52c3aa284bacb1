//! What a session may say to the agent `opencode`: by whose account which model works, and which of its tools it may use.

use serde::{Deserialize, Serialize};

use crate::Violations;

const MODEL_MAX: usize = 200;
const PROVIDERS_MAX: usize = 64;
/// `OpenCode` looks at every rule for every use of a tool.
const RULES_MAX: usize = 100;
const PERMISSION_MAX: usize = 100;
const PATTERN_MAX: usize = 1000;

/// How `OpenCode` is to work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCode {
    /// One of the configurations with providers and models that the worker's operator has named; absent: the tenant's own,
    /// or the one that is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<String>,
    /// `provider/model`, as the worker's configuration names them; absent: the model that the worker prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The last rule that fits a use of a tool decides; what no rule names is allowed, within what the worker allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<PermissionRule>,
}

/// What the agent may do with a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionRule {
    /// A tool by `OpenCode`'s own name, such as `bash`, `edit` or `webfetch`; `*` and `?` stand for others.
    pub permission: String,
    /// What the tool is used on, such as a command line or a path; `*` and `?` stand for others.
    pub pattern: String,
    pub action: PermissionAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionAction {
    Allow,
    Deny,
}

/// True for what a configuration of providers may be called.
pub fn is_providers_name(name: &str) -> bool {
    let known =
        |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'_' | b'-' | b'.');
    !name.is_empty() && name.len() <= PROVIDERS_MAX && name.bytes().all(known)
}

impl OpenCode {
    /// The model's provider and its name there.
    pub fn model_parts(&self) -> Option<(&str, &str)> {
        self.model
            .as_deref()
            .and_then(|model| model.split_once('/'))
    }

    pub(crate) fn check(&self, violations: &mut Violations) {
        if let Some(model) = &self.model {
            violations.text("/agent/model", model, 1, MODEL_MAX);
            // A model's own name may hold further slashes.
            let whole = self
                .model_parts()
                .is_some_and(|(provider, name)| !provider.is_empty() && !name.is_empty());
            if !whole || model.contains(char::is_whitespace) {
                violations.add(
                    "/agent/model",
                    "must be a provider and its model, as in `anthropic/claude-sonnet-4-5`",
                );
            }
        }
        if let Some(name) = &self.providers
            && !is_providers_name(name)
        {
            violations.add(
                "/agent/providers",
                format!(
                    "must name providers of the workers' configuration: a-z, 0-9, `_`, `-` and `.`, at most {PROVIDERS_MAX}"
                ),
            );
        }
        if self.permissions.len() > RULES_MAX {
            violations.add(
                "/agent/permissions",
                format!(
                    "has {} rules; at most {RULES_MAX} are allowed",
                    self.permissions.len()
                ),
            );
        }
        for (index, rule) in self.permissions.iter().enumerate() {
            rule.check(&format!("/agent/permissions/{index}"), violations);
        }
    }
}

impl PermissionRule {
    fn check(&self, place: &str, violations: &mut Violations) {
        let name = format!("{place}/permission");
        violations.text(&name, &self.permission, 1, PERMISSION_MAX);
        if self.permission.contains(char::is_whitespace) {
            violations.add(name, "must be the name of a tool, such as `bash`");
        }
        violations.text(&format!("{place}/pattern"), &self.pattern, 1, PATTERN_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(opencode: &OpenCode) -> Vec<String> {
        let mut violations = Violations::default();
        opencode.check(&mut violations);
        violations.0.into_iter().map(|it| it.pointer).collect()
    }

    fn rule(permission: &str, pattern: &str) -> PermissionRule {
        PermissionRule {
            permission: permission.to_owned(),
            pattern: pattern.to_owned(),
            action: PermissionAction::Deny,
        }
    }

    #[test]
    fn a_model_is_named_with_its_provider() {
        let named = |model: &str| OpenCode {
            model: Some(model.to_owned()),
            ..OpenCode::default()
        };
        assert_eq!(
            named("router/vendor/model").model_parts(),
            Some(("router", "vendor/model"))
        );
        assert!(wrong(&named("router/vendor/model")).is_empty());
        for model in ["model", "/model", "provider/", "a b/c"] {
            assert_eq!(wrong(&named(model)), ["/agent/model"], "{model}");
        }
    }

    #[test]
    fn providers_are_named_as_the_operator_may_name_them() {
        let named = |name: &str| OpenCode {
            providers: Some(name.to_owned()),
            ..OpenCode::default()
        };
        assert!(wrong(&named("team-a.2")).is_empty());
        for name in ["", "../key", "Team", &"x".repeat(PROVIDERS_MAX + 1)] {
            assert_eq!(wrong(&named(name)), ["/agent/providers"], "{name}");
        }
    }

    #[test]
    fn rules_that_name_nothing_or_are_too_many_are_refused() {
        let with = |permissions| OpenCode {
            permissions,
            ..OpenCode::default()
        };
        assert!(wrong(&with(vec![rule("bash", "rm *"), rule("*", "*")])).is_empty());
        let places = [
            "/agent/permissions/0/permission",
            "/agent/permissions/1/pattern",
        ];
        assert_eq!(
            wrong(&with(vec![rule("two words", "*"), rule("bash", "")])),
            places
        );
        assert_eq!(
            wrong(&with(vec![rule("bash", "*"); RULES_MAX + 1])),
            ["/agent/permissions"]
        );
    }
}
