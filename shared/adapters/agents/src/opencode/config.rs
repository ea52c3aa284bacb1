//! What a server is started with: the operator's file, with the secrets that it refers to put in.
//!
//! The references are resolved here and not by `OpenCode`, so that the secrets need not stand in the environment, where
//! every shell of the agent would see them, and so that they are known and can be kept out of logs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use application::ports::HandlerError;
use domain::OpenCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::rules::{Action, Permissions, Rule};
use crate::failure::fail;

/// Providers and models fit many times.
const FILE_BYTES: u64 = 1024 * 1024;
const KEY_BYTES: u64 = 64 * 1024;

/// Where the operator keeps the configuration, and the variables that it may refer to.
#[derive(Clone)]
pub(super) struct ConfigFile {
    path: Option<PathBuf>,
    variables: BTreeMap<String, String>,
}

/// What one run is started with.
#[derive(Clone)]
pub(super) struct Config {
    /// For the server. Holds secrets.
    pub json: String,
    /// What no log may show.
    pub secrets: Vec<String>,
    /// The session's rules, then those of the operator, who has the last word.
    pub rules: Vec<Rule>,
    /// `provider/model` of the operator's choice.
    pub model: Option<String>,
}

impl ConfigFile {
    pub(super) fn new(
        path: Option<PathBuf>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            path,
            variables: variables.into_iter().filter_map(text).collect(),
        }
    }

    /// Read for every run, so that keys and models can be changed without a restart.
    pub(super) fn load(&self, spec: &OpenCode, directory: &Path) -> Result<Config, HandlerError> {
        let Some(path) = &self.path else {
            return Err(fail(
                "OPENCODE_NOT_CONFIGURED",
                "the worker knows no models for the agent `opencode`; name a file with providers and models by \
                 ORCHESTRATOR_OPENCODE_CONFIG (opencode_config)",
            ));
        };
        self.read(path, spec, directory).map_err(|reason| {
            let path = path.display();
            fail(
                "OPENCODE_CONFIG",
                format!("the worker's configuration of OpenCode, {path}, cannot be used: {reason}"),
            )
        })
    }

    fn read(&self, path: &Path, spec: &OpenCode, directory: &Path) -> Result<Config, String> {
        let text = bounded(path, FILE_BYTES)?;
        let mut config: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|error| format!("it is not a JSON object: {error}"))?;
        let ordered: Rules = serde_json::from_str(&text)
            .map_err(|error| format!("its `permission` is not understood: {error}"))?;
        let mut references = References {
            folder: path.parent().unwrap_or(Path::new("/")),
            variables: &self.variables,
            secrets: Vec::new(),
        };
        for value in config.values_mut() {
            references.resolve(value)?;
        }
        let secrets = references.secrets;
        complete(&mut config);
        instruct(&mut config, directory);
        let model = config
            .get("model")
            .and_then(Value::as_str)
            .map(str::to_owned);
        // Nobody is there to answer.
        let question = Rule::new("question", Action::Deny);
        let operator = ordered.permission.0;
        let mut rules: Vec<Rule> = spec.permissions.iter().map(Rule::from).collect();
        rules.extend(operator.iter().cloned());
        rules.push(question.clone());
        let mut common = Vec::new();
        if !operator.iter().any(|rule| rule.permission == "*") {
            common.push(Rule::new("*", Action::Allow));
        }
        common.extend(operator);
        common.push(question);
        config.remove("permission");
        let json = with_permission(&config, &Permissions(common));
        let json = json.map_err(|error| format!("it cannot be written again: {error}"))?;
        Ok(Config {
            json,
            secrets,
            rules,
            model,
        })
    }
}

/// What of the file needs its order.
#[derive(Deserialize)]
struct Rules {
    #[serde(default)]
    permission: Permissions,
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

/// `{env:NAME}` and `{file:PATH}` in texts.
struct References<'a> {
    /// What relative paths start from.
    folder: &'a Path,
    variables: &'a BTreeMap<String, String>,
    secrets: Vec<String>,
}

impl References<'_> {
    fn resolve(&mut self, value: &mut Value) -> Result<(), String> {
        match value {
            Value::String(text) => *text = self.resolved(text)?,
            Value::Array(items) => {
                for item in items {
                    self.resolve(item)?;
                }
            }
            Value::Object(members) => {
                for member in members.values_mut() {
                    self.resolve(member)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        Ok(())
    }

    fn resolved(&mut self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, kind, name, after)) = first_reference(rest) {
            out.push_str(before);
            let value = match kind {
                Kind::Variable => self.variables.get(name).cloned().ok_or_else(|| {
                    format!(
                        "it refers to the variable {name}, which the worker's environment lacks"
                    )
                })?,
                Kind::File => bounded(&self.folder.join(name), KEY_BYTES)?
                    .trim()
                    .to_owned(),
            };
            out.push_str(&value);
            self.secrets.push(value);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Variable,
    File,
}

/// What stands before it, what it is, its name, and what follows.
fn first_reference(text: &str) -> Option<(&str, Kind, &str, &str)> {
    let found = [("{env:", Kind::Variable), ("{file:", Kind::File)]
        .into_iter()
        .filter_map(|(mark, kind)| Some((text.find(mark)?, mark, kind)))
        .min_by_key(|(at, ..)| *at);
    let (at, mark, kind) = found?;
    let (name, after) = text[at + mark.len()..].split_once('}')?;
    Some((&text[..at], kind, name, after))
}

fn bounded(path: &Path, limit: u64) -> Result<String, String> {
    let shown = path.display();
    let size =
        std::fs::metadata(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if size.len() > limit {
        return Err(format!("{shown} has more than {limit} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{shown} cannot be read: {error}"))
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
        ConfigFile::new(Some(path), variables).load(spec, folder.path())
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
        let unset = ConfigFile::new(None, []).load(&OpenCode::default(), Path::new("/"));
        assert!(
            unset
                .err()
                .unwrap()
                .to_string()
                .contains("OPENCODE_NOT_CONFIGURED")
        );
    }

    #[test]
    fn the_operator_has_the_last_word_and_questions_are_denied() {
        let spec = OpenCode {
            model: None,
            permissions: vec![domain::PermissionRule {
                permission: "bash".to_owned(),
                pattern: "*".to_owned(),
                action: domain::PermissionAction::Allow,
            }],
        };
        let text = r#"{"permission":{"webfetch":"deny","bash":{"curl *":"deny"}}}"#;
        let config = load(text, &[], &spec).unwrap();
        let said: Vec<(&str, &str, Action)> = config
            .rules
            .iter()
            .map(|rule| (rule.permission.as_str(), rule.pattern.as_str(), rule.action))
            .collect();
        let expected = [
            ("bash", "*", Action::Allow),
            ("webfetch", "*", Action::Deny),
            ("bash", "curl *", Action::Deny),
            ("question", "*", Action::Deny),
        ];
        assert_eq!(said, expected);
        let written = r#""permission":{"*":{"*":"allow"},"webfetch":{"*":"deny"},"bash":{"curl *":"deny"},"question":{"*":"deny"}}"#;
        assert!(config.json.contains(written), "{}", config.json);
    }
}
