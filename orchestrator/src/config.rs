//! What the program was told, from four places: flags over environment variables over `orchestrator.toml` over
//! defaults. The only place that reads the environment; everything else is handed what it needs.
//!
//! A key `port` is `port = 8080` in the file, `ORCHESTRATOR_PORT` in the environment and `--port` on the command line
//! (where the command takes it). The services' URLs have their usual names: `DATABASE_URL`, `AMQP_URL`, `REDIS_URL`.

mod eap;
mod layers;
mod lists;
mod providers;
mod secret;

use std::collections::BTreeMap;
use std::path::PathBuf;

use application::outbound::Destination;
use clap::ValueEnum;
use domain::{AgentKind, JobKind, Labels};
use figment::Figment;
use figment::providers::Serialized;
use serde::{Deserialize, Serialize};

use crate::output;

pub use eap::EapSettings;
pub use layers::{Flags, SECRET_VARIABLES, home, no_color, variables};
pub use providers::ProviderSettings;
pub use secret::Secret;

/// Looked for in the working directory, unless `--config` names another.
pub const FILE: &str = "orchestrator.toml";

/// The broker's client reports as errors what its caller asked for, such as whether a queue exists; real ones come
/// back to the caller.
const LOG: &str = "info,lapin::channel=off";

/// The configuration cannot be used; the text names the key and where it was set.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Everything that can be set. Field names are the keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is logged, in the words of `tracing`: `info`, `warn,workers=debug`.
    pub log: String,
    pub log_format: LogFormat,
    /// Embedded mode keeps everything here; in services mode workers put their worktrees here.
    pub data_dir: PathBuf,
    /// Where the API, the pages and the metrics listen.
    pub host: String,
    pub port: u16,
    /// 0 for a free one; when not set, 9100 (`producer`, `dev`) or 9101 (`worker`).
    pub metrics_port: Option<u16>,
    /// Jobs that one worker process holds at once.
    pub concurrency: Option<u32>,
    #[serde(deserialize_with = "lists::parsed")]
    pub kinds: Vec<JobKind>,
    /// What the worker has, for jobs that ask for it.
    #[serde(deserialize_with = "lists::labels")]
    pub labels: Labels,
    /// When not set: `echo`, and in `dev` `command` too.
    #[serde(deserialize_with = "lists::parsed_if_set")]
    pub agents: Option<Vec<AgentKind>>,
    /// Local repositories and datasets must lie below one of these.
    #[serde(deserialize_with = "lists::paths_if_set")]
    pub roots: Option<Vec<PathBuf>>,
    /// Variables of the worker's environment that runs may see, beside `PATH` and the language.
    #[serde(deserialize_with = "lists::parsed_if_set")]
    pub agent_variables: Option<Vec<String>>,
    /// How sessions are kept to themselves.
    pub isolation: IsolationDemand,
    /// Whether commands reach the network. The agent `opencode` always does: a model is reached over it.
    pub network: Network,
    /// What a session may use; 0 for no limit, and when not set, see `doctor`.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads of a session at once.
    pub pids_limit: Option<u64>,
    /// Processor time of a session, in percent of one processor.
    pub cpu_limit_percent: Option<u64>,
    /// A session's worktree, home and temporary files together.
    pub disk_limit_bytes: Option<u64>,
    /// Files and folders that no isolated session sees, beside homes and the data folder.
    #[serde(deserialize_with = "lists::paths_if_set")]
    pub hidden: Option<Vec<PathBuf>>,
    /// Files and folders in homes that isolated sessions may read, beside those on the `PATH`.
    #[serde(deserialize_with = "lists::paths_if_set")]
    pub readable: Option<Vec<PathBuf>>,
    /// The program of OpenCode; when not set, `opencode` where the worker's PATH has it.
    pub opencode: Option<PathBuf>,
    /// A JSON file of OpenCode with providers and models, for the agent `opencode`.
    pub opencode_config: Option<PathBuf>,
    /// Other such files by their names, for sessions, agents and tenants; only in the file.
    pub providers: BTreeMap<String, ProviderSettings>,
    /// Who commits are by that sessions push, as `Name <address>`; when not set, `Orchestrator <orchestrator@localhost>`.
    pub commit_author: Option<String>,
    /// A JSON file that lists running servers of OpenCode on this machine, which are used instead of the program.
    pub opencode_servers: Option<PathBuf>,
    /// External agents by their names, for the agent `eap`; only in the file.
    pub eap: BTreeMap<String, EapSettings>,
    /// Hosts and networks that external agents may be at although they are not public.
    #[serde(deserialize_with = "lists::parsed_if_set")]
    pub agent_networks: Option<Vec<Destination>>,
    /// What tokens of registered agents with an address are made of; the same for all producers and workers.
    pub agent_secret: Option<Secret>,
    /// The file that holds it. Not both.
    pub agent_secret_file: Option<PathBuf>,
    /// Program and arguments that train models; when not set, the reference trainer.
    #[serde(deserialize_with = "lists::parsed_if_set")]
    pub trainer: Option<Vec<String>>,
    pub lease_seconds: Option<u64>,
    pub grace_seconds: Option<u64>,
    /// How long a worker that was told to leave lets its jobs go on.
    pub drain_seconds: Option<u64>,
    /// How much of a job's output is kept.
    pub log_limit_bytes: Option<u64>,
    pub database_url: Option<Secret>,
    pub amqp_url: Option<Secret>,
    pub redis_url: Option<Secret>,
    /// What names in RabbitMQ and Redis begin with, so that installations can share them.
    pub namespace: String,
    /// Quorum queues in RabbitMQ, for a cluster that must not lose messages with a node.
    pub quorum_queues: bool,
    /// When not set, `artifacts` in the data folder. Producers and workers must share it.
    pub artifacts_dir: Option<PathBuf>,
    /// The API that client commands speak to.
    pub url: Option<String>,
    pub key: Option<Secret>,
    pub key_file: Option<PathBuf>,
    /// For system admins' keys: the tenant to act for, slug or id.
    pub tenant: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON document a line, for machines.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum IsolationDemand {
    /// What this machine gives.
    Auto,
    /// Sessions run as the worker's user, with all that this user may do.
    None,
    /// A worker does not start without bubblewrap.
    Required,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Commands reach what the worker reaches.
    On,
    /// Commands reach nothing, not even this machine.
    Off,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log: LOG.to_owned(),
            log_format: LogFormat::Text,
            data_dir: PathBuf::from(".orchestrator"),
            host: "127.0.0.1".to_owned(),
            port: 8080,
            metrics_port: None,
            concurrency: None,
            kinds: JobKind::ALL.to_vec(),
            labels: Labels::default(),
            agents: None,
            roots: None,
            agent_variables: None,
            isolation: IsolationDemand::Auto,
            network: Network::On,
            memory_limit_bytes: None,
            pids_limit: None,
            cpu_limit_percent: None,
            disk_limit_bytes: None,
            hidden: None,
            readable: None,
            opencode: None,
            opencode_config: None,
            providers: BTreeMap::new(),
            commit_author: None,
            opencode_servers: None,
            eap: BTreeMap::new(),
            agent_networks: None,
            agent_secret: None,
            agent_secret_file: None,
            trainer: None,
            lease_seconds: None,
            grace_seconds: None,
            drain_seconds: None,
            log_limit_bytes: None,
            database_url: None,
            amqp_url: None,
            redis_url: None,
            namespace: "orchestrator".to_owned(),
            quorum_queues: false,
            artifacts_dir: None,
            url: None,
            key: None,
            key_file: None,
            tenant: None,
        }
    }
}

impl Settings {
    pub fn artifacts_dir(&self) -> PathBuf {
        self.artifacts_dir
            .clone()
            .unwrap_or_else(|| self.data_dir.join("artifacts"))
    }
}

/// Knows which file to read.
pub struct Loader {
    file: Option<PathBuf>,
}

impl Loader {
    /// `file` must exist; without one, [`FILE`] is read if it is there.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// Reads the file and the environment, and puts `flags` on top.
    pub fn load(&self, flags: Flags) -> Result<Config, ConfigError> {
        let keys = layers::keys()?;
        let file = layers::File::read(self.file.clone(), &keys)?;
        let environment = layers::Environment::read(std::env::vars_os(), &keys);
        let names = std::env::vars_os().map(|(name, _)| name);
        for (name, meant) in layers::misspelt(names, &keys) {
            output::say(format_args!(
                "warning: the variable {name} sets nothing; {meant} does"
            ));
        }
        Config::merge(file, environment, flags)
    }
}

/// The effective settings, and where each came from.
pub struct Config {
    pub settings: Settings,
    figment: Figment,
}

impl Config {
    fn merge(
        file: layers::File,
        environment: layers::Environment,
        flags: Flags,
    ) -> Result<Self, ConfigError> {
        let figment = Figment::from(layers::Defaults(Serialized::defaults(Settings::default())))
            .merge(file)
            .merge(environment)
            .merge(flags);
        let settings = figment
            .extract()
            .map_err(|error| ConfigError(layers::explain(error)))?;
        Ok(Self { settings, figment })
    }

    /// Where the value of `key` came from: `default`, `orchestrator.toml`, `ORCHESTRATOR_PORT`, `--port`.
    pub fn source(&self, key: &str) -> String {
        self.figment.find_metadata(key).map_or_else(
            || "default".to_owned(),
            |from| from.interpolate(self.figment.profile(), &[key]),
        )
    }

    /// True when somebody set `key`: it is not a default.
    pub fn is_set(&self, key: &str) -> bool {
        self.source(key) != "default"
    }

    /// Every key with its effective value as it may be shown, secrets hidden.
    pub fn shown(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let shown = figment::value::Value::serialize(&self.settings)
            .map_err(|error| ConfigError(layers::explain(error)))?;
        let dict = shown.into_dict().unwrap_or_default();
        Ok(dict
            .into_iter()
            .map(|(key, value)| (key, layers::show(&value)))
            .collect())
    }
}

#[cfg(test)]
mod tests;
