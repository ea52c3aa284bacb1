//! What a server is started with: the operator's file, with the secrets that it refers to put in.
//!
//! The references are resolved here and not by `OpenCode`, so that the secrets need not stand in the environment, where
//! every shell of the agent would see them, and so that they are known and can be kept out of logs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use application::ports::HandlerError;
use domain::OpenCode;
use serde_json::{Map, Value, json};

use super::permissions::{Permissions, Rules};
use super::references::{References, bounded};
use super::rules::{self, Action, Answers, Rule};
use crate::failure::fail;

/// Providers and models fit many times.
const FILE_BYTES: u64 = 1024 * 1024;

/// Reads the operator's files; knows the variables that they may refer to.
#[derive(Clone)]
pub(super) struct ConfigReader {
    variables: BTreeMap<String, String>,
}

/// What one run is started with.
#[derive(Clone)]
pub(super) struct Config {
    /// For the server. Holds secrets.
    pub json: String,
    /// What no log may show.
    pub secrets: Vec<String>,
    /// What the session and the operator allow and deny.
    pub answers: Answers,
    /// `provider/model` of the operator's choice.
    pub model: Option<String>,
}

/// Those that are text.
pub(crate) fn texts(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    variables.into_iter().filter_map(text).collect()
}

impl Config {
    /// For a server that somebody else configures.
    pub(super) fn of_session(spec: &OpenCode) -> Self {
        Self {
            json: String::new(),
            secrets: Vec::new(),
            answers: Answers::of(spec, Vec::new()),
            model: None,
        }
    }
}

impl ConfigReader {
    pub(super) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self {
            variables: texts(variables),
        }
    }

    /// Read for every run, so that keys and models can be changed without a restart.
    pub(super) fn load(
        &self,
        path: &Path,
        spec: &OpenCode,
        directory: &Path,
    ) -> Result<Config, HandlerError> {
        self.read(path, spec, directory).map_err(|reason| {
            let path = path.display();
            fail(
                "OPENCODE_CONFIG",
                format!("the worker's configuration of OpenCode, {path}, cannot be used: {reason}"),
            )
        })
    }

    /// `Err`: why it cannot be used.
    pub(super) fn read(
        &self,
        path: &Path,
        spec: &OpenCode,
        directory: &Path,
    ) -> Result<Config, String> {
        let text = bounded(path, FILE_BYTES)?;
        let mut config: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|error| format!("it is not a JSON object: {error}"))?;
        let ordered: Rules = serde_json::from_str(&text)
            .map_err(|error| format!("its `permission` is not understood: {error}"))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut references = References::new(folder, &self.variables);
        for value in config.values_mut() {
            references.resolve(value)?;
        }
        let secrets = references.into_secrets();
        complete(&mut config);
        instruct(&mut config, directory);
        let model = config
            .get("model")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let operator = ordered.permission.0;
        let mut common = Vec::new();
        if !operator.iter().any(|rule| rule.permission == "*") {
            common.push(Rule::new("*", Action::Allow));
        }
        common.extend(operator.iter().cloned());
        common.push(rules::no_questions());
        config.remove("permission");
        let json = with_permission(&config, &Permissions(common));
        let json = json.map_err(|error| format!("it cannot be written again: {error}"))?;
        Ok(Config {
            json,
            secrets,
            answers: Answers::of(spec, operator),
            model,
        })
    }
}

#[derive(serde::Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    config: &'a Map<String, Value>,
    permission: &'a Permissions,
}

fn with_permission(
    config: &Map<String, Value>,
    permission: &Permissions,
) -> serde_json::Result<String> {
    serde_json::to_string(&Whole { config, permission })
}

/// What an unattended server must not do, and what it need not do unless the operator says so.
fn complete(config: &mut Map<String, Value>) {
    config.insert("autoupdate".to_owned(), false.into());
    config.insert("share".to_owned(), "disabled".into());
    // The diff is git's; snapshots would copy every worktree once more.
    let mut otherwise = json!({"snapshot": false, "lsp": false, "formatter": false});
    let providers = config.get("provider").and_then(Value::as_object);
    if let Some(providers) = providers {
        let names: Vec<&String> = providers.keys().collect();
        otherwise["enabled_providers"] = json!(names);
    }
    if let Value::Object(members) = otherwise {
        for (name, value) in members {
            config.entry(name).or_insert(value);
        }
    }
}

/// What the repository says to agents. The rest of its configuration is not read.
fn instruct(config: &mut Map<String, Value>, directory: &Path) {
    let file = directory.join("AGENTS.md");
    if !file.is_file() {
        return;
    }
    let list = config.entry("instructions").or_insert_with(|| json!([]));
    if let Value::Array(items) = list {
        items.push(file.to_string_lossy().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        text: &str,
        variables: &[(&str, &str)],
        spec: &OpenCode,
    ) -> Result<Config, HandlerError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opencode.json");
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("key"), "key-from-a-file\n").unwrap();
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        ConfigReader::new(variables).load(&path, spec, folder.path())
    }

    #[test]
    fn references_become_secrets_that_are_known() {
        let text = r#"{"provider":{"a":{"options":{"apiKey":"{env:KEY_A}"}},"b":{"options":{"apiKey":"Bearer {file:key}!"}}}}"#;
        let config = load(
            text,
            &[("KEY_A", "key-from-the-environment")],
            &OpenCode::default(),
        )
        .unwrap();
        let json: Value = serde_json::from_str(&config.json).unwrap();
        assert_eq!(
            json["provider"]["a"]["options"]["apiKey"],
            "key-from-the-environment"
        );
        assert_eq!(
            json["provider"]["b"]["options"]["apiKey"],
            "Bearer key-from-a-file!"
        );
        assert_eq!(json["enabled_providers"], json!(["a", "b"]));
        assert_eq!(
            config.secrets,
            ["key-from-the-environment", "key-from-a-file"]
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        for (text, words) in [
            (r#"{"a":"{env:MISSING}"}"#, "the variable MISSING"),
            (r#"{"a":"{file:none}"}"#, "none cannot be read"),
            ("[]", "not a JSON object"),
            (
                r#"{"permission":{"bash":"maybe"}}"#,
                "`permission` is not understood",
            ),
        ] {
            let error = load(text, &[], &OpenCode::default())
                .err()
                .unwrap()
                .to_string();
            assert!(
                error.contains(words) && error.contains("OPENCODE_CONFIG"),
                "{error}"
            );
        }
    }

    #[test]
    fn rules_are_put_together_and_questions_are_denied() {
        let spec = OpenCode {
            permissions: vec![domain::PermissionRule {
                permission: "bash".to_owned(),
                pattern: "*".to_owned(),
                action: domain::PermissionAction::Allow,
            }],
            ..OpenCode::default()
        };
        let text = r#"{"permission":{"webfetch":"deny","bash":{"curl *":"deny"}}}"#;
        let config = load(text, &[], &spec).unwrap();
        let said: Vec<(String, String, Action)> = config
            .answers
            .together()
            .into_iter()
            .map(|rule| (rule.permission, rule.pattern, rule.action))
            .collect();
        let expected = [
            ("bash", "*", Action::Allow),
            ("webfetch", "*", Action::Deny),
            ("bash", "curl *", Action::Deny),
            ("question", "*", Action::Deny),
        ];
        let expected =
            expected.map(|(name, pattern, action)| (name.to_owned(), pattern.to_owned(), action));
        assert_eq!(said, expected);
        let written = r#""permission":{"*":"allow","webfetch":"deny","bash":{"curl *":"deny"},"question":"deny"}"#;
        assert!(config.json.contains(written), "{}", config.json);
    }
}
