//! Rules as a configuration of OpenCode has them: objects whose members' order counts.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rules::{Action, Rule};

/// What of a configuration needs its order.
#[derive(Deserialize)]
pub(super) struct Rules {
    #[serde(default)]
    pub permission: Permissions,
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
            let name = &rules[0].permission;
            match rules {
                // Some tools have no patterns, and must not be given any.
                [rule] if rule.pattern == "*" => map.serialize_entry(name, &rule.action)?,
                _ => map.serialize_entry(name, &Patterns(rules))?,
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_a_file_is_kept() {
        let text = r#"{"webfetch":"deny","bash":{"*":"ask","git *":"allow","a *":"deny"}}"#;
        let read: Permissions = serde_json::from_str(text).unwrap();
        assert_eq!(read.0.len(), 4);
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let short: Permissions = serde_json::from_str(r#""ask""#).unwrap();
        assert_eq!(short.0, [Rule::new("*", Action::Ask)]);
        assert!(serde_json::from_str::<Permissions>(r#"{"bash":"perhaps"}"#).is_err());
    }
}
