//! Groups of flags that set configuration keys. A flag's field is the key it sets; one that is not given says nothing.

use std::path::PathBuf;

use clap::Args;
use domain::{AgentKind, JobKind};
use serde::Serialize;

use crate::config::{IsolationDemand, LogFormat, Network};

#[derive(Debug, Default, Args, Serialize)]
pub struct LogFlags {
    /// What to log, such as `info` or `warn,workers=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,

    /// How to log, on standard error [default: text]
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

#[derive(Debug, Default, Args, Serialize)]
pub struct DataFlags {
    /// Data folder: worktrees and artifacts, and the database and the admin's key of the embedded mode [default: .orchestrator]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Args, Serialize)]
pub struct HttpFlags {
    /// Port of the API and the pages; 0 for a free one [default: 8080]
    #[arg(long, value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,

    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

#[derive(Debug, Default, Args, Serialize)]
pub struct MetricsFlags {
    /// Port of /metrics; 0 for a free one [default: 9100, or 9101 for `worker`]
    #[arg(long, value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_port: Option<u16>,
}

#[derive(Debug, Default, Args, Serialize)]
pub struct WorkerFlags {
    /// Jobs to run at once [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,

    /// Kinds of jobs to run [default: session,training]
    #[arg(long, value_name = "KIND,..", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<JobKind>>,

    /// What this worker has, for jobs that ask for it; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,

    /// Kinds of agents to run: echo, command, opencode, eap, external. `command` and `opencode` do what tenants
    /// say, as this user; `eap` gives work to the external agents of the configuration, `external` to those that
    /// registered themselves
    #[arg(long, value_name = "KIND,..", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<Vec<AgentKind>>,

    /// Folders below which repositories and datasets may lie
    #[arg(long, value_name = "DIR,..", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<Vec<PathBuf>>,

    /// How sessions are kept to themselves [default: auto]
    #[arg(long, value_name = "DEMAND")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<IsolationDemand>,

    /// Whether commands reach the network; off takes bubblewrap [default: on]
    #[arg(long, value_name = "ON|OFF")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,

    /// Seconds that running jobs may go on after SIGTERM [default: 60]
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<u64>,
}
