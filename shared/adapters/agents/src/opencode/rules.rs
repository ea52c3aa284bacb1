//! Which uses of a tool are allowed: rules in the order in which they count, from the operator's file and from the
//! session. Decides nothing that `OpenCode` decides by itself; what it asks about is answered here.

use domain::{OpenCode, PermissionAction, PermissionRule};
use serde::{Deserialize, Serialize};

use super::wildcard::fits;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Allow,
    Deny,
    Ask,
}

/// As `OpenCode`'s API takes it with a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rule {
    pub permission: String,
    pub pattern: String,
    pub action: Action,
}

impl Rule {
    pub(super) fn new(permission: &str, action: Action) -> Self {
        Self {
            permission: permission.to_owned(),
            pattern: "*".to_owned(),
            action,
        }
    }
}

/// What OpenCode itself asks to be allowed.
const PERMISSIONS: [&str; 17] = [
    "bash",
    "doom_loop",
    "edit",
    "external_directory",
    "glob",
    "grep",
    "list",
    "lsp",
    "plan_enter",
    "plan_exit",
    "question",
    "read",
    "skill",
    "task",
    "todowrite",
    "webfetch",
    "websearch",
];
/// Tools whose use is a use of `edit`.
const EDITING: [&str; 4] = ["apply_patch", "multiedit", "patch", "write"];

/// A denial that names a tool means the permission that this tool needs. What OpenCode does not know is left as it is: servers
/// and plugins of the operator have tools of their own. So is what is allowed: nobody's word for one tool opens others.
fn permission(named: &str, action: PermissionAction) -> String {
    let plain = named.to_lowercase();
    if action == PermissionAction::Allow {
        return named.to_owned();
    }
    if EDITING.contains(&plain.as_str()) {
        "edit".to_owned()
    } else if PERMISSIONS.contains(&plain.as_str()) {
        plain
    } else {
        named.to_owned()
    }
}

impl From<&PermissionRule> for Rule {
    fn from(rule: &PermissionRule) -> Self {
        Self {
            permission: permission(&rule.permission, rule.action),
            pattern: rule.pattern.clone(),
            action: match rule.action {
                PermissionAction::Allow => Action::Allow,
                PermissionAction::Deny => Action::Deny,
            },
        }
    }
}

/// Nobody is there to answer what the agent would ask.
pub(super) fn no_questions() -> Rule {
    Rule::new("question", Action::Deny)
}

/// How questions about the use of a tool are answered.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    session: Vec<Rule>,
    operator: Vec<Rule>,
}

impl Answers {
    pub(super) fn of(spec: &OpenCode, operator: Vec<Rule>) -> Self {
        Self {
            session: spec.permissions.iter().map(Rule::from).collect(),
            operator,
        }
    }

    /// One list of the session's rules and the operator's, of which the last one that fits decides, so that what either
    /// denies is denied.
    ///
    /// The operator's come last. Where they allow something, the session's own denials follow once more: as questions,
    /// when the session also allows, since a single list cannot say which of its denials have exceptions.
    /// [`Answers::allow`] can.
    pub(super) fn together(&self) -> Vec<Rule> {
        let allows = |rules: &[Rule]| rules.iter().any(|rule| rule.action == Action::Allow);
        let mut rules = [&self.session[..], &self.operator].concat();
        if allows(&self.operator) {
            let action = if allows(&self.session) {
                Action::Ask
            } else {
                Action::Deny
            };
            let denials = self
                .session
                .iter()
                .filter(|rule| rule.action == Action::Deny);
            rules.extend(denials.map(|rule| Rule {
                action,
                ..rule.clone()
            }));
        }
        rules.push(no_questions());
        rules
    }

    /// What the session's rules name and OpenCode itself does not have.
    pub(super) fn unknown(&self) -> Vec<&str> {
        let named = self.session.iter().map(|rule| rule.permission.as_str());
        let mut unknown: Vec<&str> = named
            .filter(|named| !PERMISSIONS.contains(named) && !named.contains(['*', '?']))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// What of that is a tool which OpenCode has, and asks for by another name.
    pub(super) fn asks_for_edit(named: &str) -> bool {
        EDITING.contains(&named)
    }

    /// True when somebody's rules allow all of it, and nobody's deny any of it.
    pub(super) fn allow(&self, permission: &str, patterns: &[&str]) -> bool {
        !patterns.is_empty()
            && patterns
                .iter()
                .all(|pattern| self.allows_one(permission, pattern))
    }

    fn allows_one(&self, permission: &str, pattern: &str) -> bool {
        let decided = |rules: &[Rule]| {
            let last = rules
                .iter()
                .rfind(|rule| fits(permission, &rule.permission) && fits(pattern, &rule.pattern));
            last.map(|rule| rule.action)
        };
        let said = [decided(&self.session), decided(&self.operator)];
        !said.contains(&Some(Action::Deny)) && said.contains(&Some(Action::Allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(permission: &str, pattern: &str, action: Action) -> Rule {
        Rule {
            permission: permission.to_owned(),
            pattern: pattern.to_owned(),
            action,
        }
    }

    #[test]
    fn a_question_is_answered_yes_when_somebody_allows_it_and_nobody_denies_it() {
        use Action::{Allow, Ask, Deny};
        let answers = Answers {
            session: vec![
                rule("bash", "*", Allow),
                rule("bash", "rm *", Deny),
                rule("edit", "*", Deny),
                rule("mcp_*", "*", Allow),
            ],
            operator: vec![
                rule("*", "*", Ask),
                rule("edit", "*", Allow),
                rule("bash", "curl *", Deny),
                rule("read", "*", Allow),
            ],
        };
        for (permission, patterns) in [
            ("bash", &["git status"][..]),
            ("mcp_issues", &["any"]),
            ("read", &["a.txt"]),
        ] {
            assert!(
                answers.allow(permission, patterns),
                "{permission} {patterns:?}"
            );
        }
        for (permission, patterns) in [
            ("bash", &["rm -r x"][..]),
            ("bash", &["rm"]),
            ("bash", &["ls", "rm x"]),
            ("bash", &["curl x"]),
            ("bash", &[]),
            ("edit", &["a.txt"]),
            ("webfetch", &["http://x"]),
        ] {
            assert!(
                !answers.allow(permission, patterns),
                "{permission} {patterns:?}"
            );
        }
    }

    #[test]
    fn a_rule_that_names_a_tool_means_what_the_tool_needs() {
        let named = [
            "Bash",
            "write",
            "Patch",
            "edit",
            "mcp_Issues",
            "nosuch",
            "web*",
        ];
        let rules = named.map(|named| PermissionRule {
            permission: named.to_owned(),
            pattern: "*".to_owned(),
            action: PermissionAction::Deny,
        });
        let mut rules = rules.to_vec();
        rules.push(PermissionRule {
            permission: "write".to_owned(),
            pattern: "*".to_owned(),
            action: PermissionAction::Allow,
        });
        let spec = OpenCode {
            permissions: rules,
            ..OpenCode::default()
        };
        let answers = Answers::of(&spec, Vec::new());
        let meant: Vec<&str> = answers
            .session
            .iter()
            .map(|rule| &*rule.permission)
            .collect();
        let expected = [
            "bash",
            "edit",
            "edit",
            "edit",
            "mcp_Issues",
            "nosuch",
            "web*",
            "write",
        ];
        assert_eq!(meant, expected);
        assert_eq!(answers.unknown(), ["mcp_Issues", "nosuch", "write"]);
    }

    #[test]
    fn what_either_denies_is_not_allowed_by_the_other() {
        use Action::{Allow, Ask, Deny};
        let deny = [rule("bash", "*", Deny)];
        let but_git = [rule("bash", "*", Deny), rule("bash", "git *", Allow)];
        let open = [rule("*", "*", Allow)];
        let last = |rules: Vec<Rule>, pattern: &str| {
            let found = rules
                .iter()
                .rfind(|rule| fits("bash", &rule.permission) && fits(pattern, &rule.pattern));
            found.map(|rule| rule.action)
        };
        for (session, operator, pattern, expected) in [
            (&deny[..], &open[..], "ls", Some(Deny)),
            (&open, &deny, "ls", Some(Deny)),
            (&open, &but_git, "git log", Some(Allow)),
            (&but_git, &[], "git log", Some(Allow)),
            (&but_git, &[], "ls", Some(Deny)),
            // Answered by both lists.
            (&but_git, &open, "git log", Some(Ask)),
            (&but_git, &open, "ls", Some(Ask)),
            (&[], &[], "ls", None),
        ] {
            let answers = Answers {
                session: session.to_vec(),
                operator: operator.to_vec(),
            };
            assert_eq!(last(answers.together(), pattern), expected);
        }
    }
}
