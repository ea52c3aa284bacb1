//! The four places that settings come from, each as one layer with a name that a person recognizes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use figment::providers::Serialized;
use figment::value::{Dict, Map, Value};
use figment::{Error, Metadata, Profile, Provider};
use serde::Serialize;

use super::{ConfigError, FILE, Settings};

const PREFIX: &str = "ORCHESTRATOR_";
/// Settings whose variables have names of their own, known to other programs too.
const SERVICES: [&str; 3] = ["database_url", "amqp_url", "redis_url"];
/// Settings that are numbers; a variable is text, so it has to be known.
const NUMBERS: [&str; 11] = [
    "port",
    "metrics_port",
    "concurrency",
    "lease_seconds",
    "grace_seconds",
    "drain_seconds",
    "log_limit_bytes",
    "memory_limit_bytes",
    "pids_limit",
    "cpu_limit_percent",
    "disk_limit_bytes",
];

/// Settings that are true or false.
const SWITCHES: [&str; 1] = ["quorum_queues"];

/// The name of the variable that sets `key`.
fn variable(key: &str) -> String {
    let upper = key.to_ascii_uppercase();
    if SERVICES.contains(&key) {
        upper
    } else {
        format!("{PREFIX}{upper}")
    }
}

/// Every key there is.
pub fn keys() -> Result<BTreeSet<String>, ConfigError> {
    let defaults =
        Value::serialize(Settings::default()).map_err(|error| ConfigError(explain(error)))?;
    Ok(defaults
        .into_dict()
        .unwrap_or_default()
        .into_keys()
        .collect())
}

/// True when the user wants no colours: <https://no-color.org>.
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The user's home folder.
pub fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

/// The environment of this process, for those who hand parts of it on.
pub fn variables() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// The variables that hold secrets of ours.
pub const SECRET_VARIABLES: [&str; 5] = [
    "DATABASE_URL",
    "AMQP_URL",
    "REDIS_URL",
    "ORCHESTRATOR_KEY",
    "ORCHESTRATOR_AGENT_SECRET",
];

fn layer(dict: Dict) -> Map<Profile, Dict> {
    Map::from([(Profile::Default, dict)])
}

pub struct Defaults(pub Serialized<Settings>);

impl Provider for Defaults {
    fn metadata(&self) -> Metadata {
        Metadata::named("default").interpolater(|_, _| "default".to_owned())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        self.0.data()
    }
}

/// The configuration file.
pub struct File {
    path: String,
    dict: Dict,
}

impl File {
    /// A file that was asked for must be there; the usual one may be missing.
    pub fn read(asked: Option<PathBuf>, keys: &BTreeSet<String>) -> Result<Self, ConfigError> {
        let optional = asked.is_none();
        let path = asked.unwrap_or_else(|| PathBuf::from(FILE));
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(ConfigError(format!(
                    "the configuration file {shown} cannot be read: {error}"
                )));
            }
        };
        let table: toml::Table = text
            .parse()
            .map_err(|error| ConfigError(format!("{shown} is not valid TOML: {error}")))?;
        let unknown: BTreeSet<&str> = table
            .keys()
            .map(String::as_str)
            .filter(|key| !keys.contains(*key))
            .collect();
        if !unknown.is_empty() {
            let known: Vec<&str> = keys.iter().map(String::as_str).collect();
            return Err(ConfigError(format!(
                "{shown} sets {}, which {} not known; known are {}",
                quoted(&unknown),
                if unknown.len() == 1 { "is" } else { "are" },
                known.join(", ")
            )));
        }
        let dict = Value::serialize(&table)
            .map_err(|error| ConfigError(explain(error)))?
            .into_dict()
            .unwrap_or_default();
        Ok(Self { path: shown, dict })
    }
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        let path = self.path.clone();
        Metadata::named(path.clone()).interpolater(move |_, _| path.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(layer(self.dict.clone()))
    }
}

/// The variables of the environment that set a key. Others with our prefix belong to scripts and are left alone.
pub struct Environment(Dict);

impl Environment {
    pub fn read(
        variables: impl Iterator<Item = (OsString, OsString)>,
        keys: &BTreeSet<String>,
    ) -> Self {
        let given: Map<OsString, OsString> = variables.collect();
        let mut dict = Dict::new();
        for key in keys {
            let Some(value) = given.get(&OsString::from(variable(key))) else {
                continue;
            };
            // An empty variable is one that was not set: scripts cannot always unset.
            let text = value.to_string_lossy();
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            dict.insert(key.clone(), typed(key, text));
        }
        Self(dict)
    }
}

/// Variables with our prefix that set nothing and look like a slip of one that does, with that one.
pub fn misspelt(
    names: impl Iterator<Item = OsString>,
    keys: &BTreeSet<String>,
) -> Vec<(String, String)> {
    /// Letters that are wrong, missing, too many or swapped.
    const SLIPS: usize = 2;
    let meant: BTreeSet<String> = keys.iter().map(|key| variable(key)).collect();
    let settings: Vec<(String, String)> = keys
        .iter()
        .map(|key| {
            (
                format!("{PREFIX}{}", key.to_ascii_uppercase()),
                variable(key),
            )
        })
        .collect();
    let mut misspelt = Vec::new();
    for name in names {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) || meant.contains(&name) {
            continue;
        }
        let near = settings
            .iter()
            .map(|(said, meant)| (strsim::osa_distance(&name, said), meant))
            // Of a short name two other letters make another word.
            .filter(|(slips, _)| *slips <= SLIPS && slips * 4 <= name.len() - PREFIX.len())
            .min();
        if let Some((_, setting)) = near {
            misspelt.push((name, setting.clone()));
        }
    }
    misspelt
}

/// A variable's text as what its key is; what does not fit is refused as it stands.
fn typed(key: &str, text: &str) -> Value {
    if NUMBERS.contains(&key)
        && let Ok(number) = text.parse::<u64>()
    {
        return Value::from(number);
    }
    if SWITCHES.contains(&key)
        && let Ok(switch) = text.parse::<bool>()
    {
        return Value::from(switch);
    }
    Value::from(text)
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment").interpolater(|_, keys| {
            keys.iter()
                .map(|key| variable(key))
                .collect::<Vec<_>>()
                .join(".")
        })
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(layer(self.0.clone()))
    }
}

/// What was said on the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags(Dict);

impl Flags {
    /// Adds the flags of one group; those that were not given must serialize to nothing.
    pub fn with(mut self, group: &impl Serialize) -> Result<Self, ConfigError> {
        let values = Value::serialize(group).map_err(|error| ConfigError(explain(error)))?;
        self.0.extend(values.into_dict().unwrap_or_default());
        Ok(self)
    }
}

impl Provider for Flags {
    fn metadata(&self) -> Metadata {
        Metadata::named("command line").interpolater(|_, keys| {
            keys.iter()
                .map(|key| match *key {
                    // It is given once a label.
                    "labels" => "--label".to_owned(),
                    key => format!("--{}", key.replace('_', "-")),
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(layer(self.0.clone()))
    }
}

/// One sentence a mistake: what is wrong, with which key, set where.
pub fn explain(error: Error) -> String {
    error
        .into_iter()
        .map(|error| {
            let key = error.path.join(".");
            let from = error
                .metadata
                .as_ref()
                .zip(error.profile.as_ref())
                .map_or_else(String::new, |(metadata, profile)| {
                    format!(" (from {})", metadata.interpolate(profile, &error.path))
                });
            if key.is_empty() {
                format!("the configuration cannot be used: {}", error.kind)
            } else {
                format!("`{key}`{from} cannot be used: {}", error.kind)
            }
        })
        .collect::<Vec<_>>()
        .join("; ")
}

/// A value as it stands in a table.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Num(_, number) => number
            .to_u128()
            .map_or_else(|| format!("{number:?}"), |number| number.to_string()),
        Value::Bool(_, yes) => yes.to_string(),
        Value::Array(_, items) => items.iter().map(show).collect::<Vec<_>>().join(","),
        Value::Empty(..) => "-".to_owned(),
        Value::Char(_, c) => c.to_string(),
        Value::Dict(_, members) if members.is_empty() => "-".to_owned(),
        Value::Dict(_, members) => members
            .iter()
            .map(|(name, value)| match value {
                // An agent: the rest of it is in the file.
                Value::Dict(..) => name.clone(),
                value => format!("{name}={}", show(value)),
            })
            .collect::<Vec<_>>()
            .join(","),
    }
}

fn quoted(keys: &BTreeSet<&str>) -> String {
    keys.iter()
        .map(|key| format!("`{key}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
