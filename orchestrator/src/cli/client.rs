//! How client commands reach the API, and the small commands that only read.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use domain::JobKind;
use serde::Serialize;

use crate::output::Format;

#[derive(Debug, Default, Args, Serialize)]
pub struct Connection {
    /// The API [default: the `dev` of the data folder if one runs, else http://127.0.0.1:8080]
    #[arg(long, help_heading = "Connection", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,

    /// File with the API key; ORCHESTRATOR_KEY holds the key itself [default: admin.key of the data folder]
    #[arg(long, help_heading = "Connection", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,

    /// Data folder of a `dev` on this machine [default: .orchestrator]
    #[arg(long, help_heading = "Connection", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,

    /// Tenant to act for, slug or id; only a system admin's key may act for others [default: the key's own]
    #[arg(
        id = "as_tenant",
        long = "as-tenant",
        help_heading = "Connection",
        value_name = "TENANT"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// How a list is written.
#[derive(Debug, Args)]
pub struct Listing {
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List the tenant's queues: what waits, what runs, the quota
    #[command(after_help = "\
Examples:
  orchestrator queue list
  orchestrator queue list --all
  orchestrator queue list --as-tenant acme -o json")]
    List(QueueListArgs),
    /// Start no more jobs of a queue until it is resumed; running ones go on (needs a lead's key)
    #[command(after_help = "\
Examples:
  orchestrator queue pause session
  orchestrator queue pause training --as-tenant acme")]
    Pause(OneQueue),
    /// End a pause or a drain
    #[command(after_help = "Example:\n  orchestrator queue resume session")]
    Resume(OneQueue),
    /// Take no new jobs, and work off those that wait, until the queue is resumed
    #[command(after_help = "Example:\n  orchestrator queue drain session")]
    Drain(OneQueue),
}

#[derive(Debug, Args)]
pub struct OneQueue {
    /// session or training
    #[arg(value_name = "KIND")]
    pub kind: JobKind,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Args)]
pub struct QueueListArgs {
    /// The queues of all tenants (needs a system admin's key)
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub listing: Listing,
}

/// List the worker processes and what they hold (needs a system admin's key)
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  orchestrator workers")]
pub struct WorkersArgs {
    #[command(flatten)]
    pub listing: Listing,
}
