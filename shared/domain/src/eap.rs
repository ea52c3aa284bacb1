//! What a session may say to an external agent (EAP): which one works, and what it is handed. Where the agent is and how
//! to get in is the operator's business and never part of a session.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Violations;
use crate::session::is_inside;

const NAME_MAX: usize = 64;
const TASK_TYPE_MAX: usize = 64;
/// What an agent is told where the session says nothing else.
const TASK_TYPE: &str = "coding";
const FILES_MAX: usize = 100;
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// A task for an agent that is reached by HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eap {
    /// As the worker's operator calls the agent.
    pub name: String,
    /// What kind of work it is, in words that the agent knows; absent: `coding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Files of the worktree that the agent is handed, relative paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The session's own words to the agent, handed over as they are.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub input_data: Map<String, Value>,
}

/// True for what an external agent may be called: letters, digits, `_` and `-`, 64 at most.
pub fn is_agent_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(known)
}

impl Eap {
    pub fn task_type(&self) -> &str {
        self.task_type.as_deref().unwrap_or(TASK_TYPE)
    }

    pub(crate) fn check(&self, violations: &mut Violations) {
        if !is_agent_name(&self.name) {
            violations.add(
                "/agent/name",
                format!(
                    "must name an agent of the workers' configuration: letters, digits, `_` and `-`, at most {NAME_MAX}"
                ),
            );
        }
        let task_type = self.task_type.as_deref();
        check_handed(
            "/agent",
            task_type,
            &self.files,
            &self.input_data,
            violations,
        );
    }
}

/// What an agent that works elsewhere is handed beside the prompt; the fields stand below `pointer`.
pub(crate) fn check_handed(
    pointer: &str,
    task_type: Option<&str>,
    files: &[String],
    input_data: &Map<String, Value>,
    violations: &mut Violations,
) {
    if let Some(task_type) = task_type {
        let pointer = format!("{pointer}/task_type");
        violations.text(&pointer, task_type, 1, TASK_TYPE_MAX);
    }
    check_files(&format!("{pointer}/files"), files, violations);
    let bytes = serde_json::to_string(input_data).map_or(usize::MAX, |text| text.len());
    if bytes > INPUT_BYTES_MAX {
        violations.add(
            format!("{pointer}/input_data"),
            format!("has {bytes} bytes; at most {INPUT_BYTES_MAX} are allowed"),
        );
    }
}

/// Files of the worktree that an agent is handed.
fn check_files(pointer: &str, files: &[String], violations: &mut Violations) {
    if files.len() > FILES_MAX {
        violations.add(
            pointer,
            format!(
                "names {} files; at most {FILES_MAX} are handed over",
                files.len()
            ),
        );
    }
    for (index, path) in files.iter().enumerate() {
        if !is_inside(path) {
            violations.add(
                format!("{pointer}/{index}"),
                "must be a relative path that stays inside the worktree",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(eap: &Eap) -> Vec<String> {
        let mut violations = Violations::default();
        eap.check(&mut violations);
        violations.0.into_iter().map(|it| it.pointer).collect()
    }

    fn named(name: &str) -> Eap {
        Eap {
            name: name.to_owned(),
            ..Eap::default()
        }
    }

    #[test]
    fn an_agent_is_named_and_never_addressed() {
        assert!(wrong(&named("REVIEWER_2")).is_empty());
        let long = "x".repeat(NAME_MAX + 1);
        for name in ["", "http://host", "a.b", "a b", &long] {
            assert_eq!(wrong(&named(name)), ["/agent/name"], "{name}");
        }
    }

    #[test]
    fn what_is_handed_over_stays_inside_and_is_bounded() {
        let with = |files: &[&str]| Eap {
            files: files.iter().map(|&file| file.to_owned()).collect(),
            ..named("a")
        };
        assert!(wrong(&with(&["src/lib.rs"])).is_empty());
        assert_eq!(
            wrong(&with(&["a", "../a", ".git/config"])),
            ["/agent/files/1", "/agent/files/2"]
        );
        assert_eq!(wrong(&with(&["a"; FILES_MAX + 1])), ["/agent/files"]);
        let mut much = named("a");
        let text = "x".repeat(INPUT_BYTES_MAX);
        much.input_data.insert("a".to_owned(), text.into());
        assert_eq!(wrong(&much), ["/agent/input_data"]);
    }
}
