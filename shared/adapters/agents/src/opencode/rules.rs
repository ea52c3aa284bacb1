//! Which uses of a tool are allowed: rules in the order in which they count, from the operator's file and from the
//! session. Decides nothing that `OpenCode` decides by itself; what it asks about is answered here.

use std::fmt;

use domain::{PermissionAction, PermissionRule};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

impl From<&PermissionRule> for Rule {
    fn from(rule: &PermissionRule) -> Self {
        Self {
            permission: rule.permission.clone(),
            pattern: rule.pattern.clone(),
            action: match rule.action {
                PermissionAction::Allow => Action::Allow,
                PermissionAction::Deny => Action::Deny,
            },
        }
    }
}

/// The member `permission` of a configuration file. The order of its members counts, so it is kept, which a map would
/// not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Permissions(pub Vec<Rule>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrPatterns {
    One(Action),
    Patterns(Ordered<Action>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WordOrMembers {
    Word(Action),
    Members(Ordered<OneOrPatterns>),
}

/// The members of a JSON object as they stand.
struct Ordered<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Ordered(members))
            }
        }
        deserializer.deserialize_map(Members(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = match WordOrMembers::deserialize(deserializer)? {
            WordOrMembers::Word(action) => return Ok(Self(vec![Rule::new("*", action)])),
            WordOrMembers::Members(members) => members.0,
        };
        let mut rules = Vec::new();
        for (permission, value) in members {
            match value {
                OneOrPatterns::One(action) => rules.push(Rule::new(&permission, action)),
                OneOrPatterns::Patterns(patterns) => {
                    rules.extend(patterns.0.into_iter().map(|(pattern, action)| Rule {
                        permission: permission.clone(),
                        pattern,
                        action,
                    }));
                }
            }
        }
        Ok(Self(rules))
    }
}

/// As `OpenCode`'s configuration has it. The rules of one permission stand together, as they do when they were read.
impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Patterns<'a>(&'a [Rule]);

        impl Serialize for Patterns<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(self.0.len()))?;
                for rule in self.0 {
                    map.serialize_entry(&rule.pattern, &rule.action)?;
                }
                map.end()
            }
        }
        let mut map = serializer.serialize_map(None)?;
        for rules in self
            .0
            .chunk_by(|one, next| one.permission == next.permission)
        {
            map.serialize_entry(&rules[0].permission, &Patterns(rules))?;
        }
        map.end()
    }
}

/// Nobody is there to answer what the agent would ask.
pub(super) fn no_questions() -> Rule {
    Rule::new("question", Action::Deny)
}

/// One list of the session's rules and the operator's, of which the last one that fits decides, so that what either
/// denies is denied.
///
/// The operator's come last. Where they allow something, the session's own denials follow once more: as questions, when
/// the session also allows, since an order of both cannot say which of its denials have exceptions. [`Answers`] can.
pub(super) fn together(session: &[Rule], operator: &[Rule]) -> Vec<Rule> {
    let allows = |rules: &[Rule]| rules.iter().any(|rule| rule.action == Action::Allow);
    let mut rules = [session, operator].concat();
    if allows(operator) {
        let action = if allows(session) {
            Action::Ask
        } else {
            Action::Deny
        };
        let denials = session.iter().filter(|rule| rule.action == Action::Deny);
        rules.extend(denials.map(|rule| Rule {
            action,
            ..rule.clone()
        }));
    }
    rules.push(no_questions());
    rules
}

/// How questions about the use of a tool are answered.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub session: Vec<Rule>,
    pub operator: Vec<Rule>,
}

impl Answers {
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
    fn the_order_of_a_file_is_kept() {
        let text = r#"{"webfetch":{"*":"deny"},"bash":{"*":"ask","git *":"allow","a *":"deny"}}"#;
        let read: Permissions = serde_json::from_str(text).unwrap();
        assert_eq!(read.0.len(), 4);
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let short: Permissions = serde_json::from_str(r#""ask""#).unwrap();
        assert_eq!(short.0, [Rule::new("*", Action::Ask)]);
        assert!(serde_json::from_str::<Permissions>(r#"{"bash":"perhaps"}"#).is_err());
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
            assert_eq!(last(together(session, operator), pattern), expected);
        }
        assert_eq!(together(&[], &[]), [no_questions()]);
    }
}
