//! Which uses of a tool are allowed: rules in the order in which they count, from the operator's file and from the
//! session. Decides nothing that `OpenCode` decides by itself; what it asks about is answered here.

use std::fmt;

use domain::{PermissionAction, PermissionRule};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Allow,
    Deny,
    Ask,
}

/// As `OpenCode`'s API takes it with a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// True when the session's own rules allow all of it. Nobody is there to be asked, so what they do not name is denied.
pub(super) fn allows(rules: &[PermissionRule], permission: &str, patterns: &[&str]) -> bool {
    let decided = |pattern: &str| {
        rules
            .iter()
            .rfind(|rule| fits(permission, &rule.permission) && fits(pattern, &rule.pattern))
    };
    !patterns.is_empty()
        && patterns
            .iter()
            .all(|pattern| decided(pattern).is_some_and(|it| it.action == PermissionAction::Allow))
}

/// `*` stands for any text and `?` for one character; `rm *` fits `rm` alone too.
fn fits(text: &str, pattern: &str) -> bool {
    if pattern.strip_suffix(" *") == Some(text) {
        return true;
    }
    let (text, pattern): (Vec<char>, Vec<char>) =
        (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(place) {
            Some('*') => {
                star = Some((place, at));
                place += 1;
            }
            Some(&one) if one == '?' || one == text[at] => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((start, taken)) = star else {
                    return false;
                };
                star = Some((start, taken + 1));
                (place, at) = (start + 1, taken + 1);
            }
        }
    }
    pattern[place..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(permission: &str, pattern: &str, action: PermissionAction) -> PermissionRule {
        PermissionRule {
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
    fn only_what_a_rule_allows_is_allowed_and_the_last_rule_decides() {
        use PermissionAction::{Allow, Deny};
        let rules = [
            rule("bash", "*", Allow),
            rule("bash", "rm *", Deny),
            rule("mcp_*", "*", Allow),
        ];
        assert!(allows(&rules, "bash", &["git status"]));
        assert!(allows(&rules, "mcp_issues", &["any"]));
        for (permission, patterns) in [
            ("bash", &["rm -r x"][..]),
            ("bash", &["rm"]),
            ("bash", &["ls", "rm x"]),
            ("bash", &[]),
            ("edit", &["a.txt"]),
        ] {
            assert!(
                !allows(&rules, permission, patterns),
                "{permission} {patterns:?}"
            );
        }
    }

    #[test]
    fn patterns_fit_as_wildcards_do() {
        for (text, pattern) in [
            ("abc", "a*c"),
            ("abc", "???"),
            ("", "*"),
            ("a.b.c", "*.c"),
            ("xaab", "*a?"),
        ] {
            assert!(fits(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in [("abc", "a*d"), ("ab", "???"), ("", "?"), ("a", "")] {
            assert!(!fits(text, pattern), "{text} {pattern}");
        }
    }
}
