//! The composition root: the only place that knows which adapter stands behind which port.

pub mod data_dir;
pub mod direct;
pub mod embedded;
pub mod isolation;
pub mod services;
pub mod tools;

use std::time::Duration;

use application::outbound::OutboundPolicy;
use domain::Labels;

use crate::config::Settings;

/// The tenant that every installation begins with.
pub const DEFAULT_TENANT: &str = "default";

/// What the settings say about a worker; what they leave open is the worker's own default.
pub fn worker_config(settings: &Settings) -> workers::WorkerConfig {
    let defaults = workers::WorkerConfig::default();
    let seconds = |given: Option<u64>, default| given.map_or(default, Duration::from_secs);
    workers::WorkerConfig {
        host: host_name(),
        kinds: settings.kinds.clone(),
        labels: labels(settings),
        concurrency: settings.concurrency.unwrap_or(defaults.concurrency),
        lease: seconds(settings.lease_seconds, defaults.lease),
        grace: seconds(settings.grace_seconds, defaults.grace),
        drain: seconds(settings.drain_seconds, defaults.drain),
        log_limit_bytes: settings.log_limit_bytes.unwrap_or(defaults.log_limit_bytes),
        ..defaults
    }
}

/// What the operator says that it has, and which agents it runs.
fn labels(settings: &Settings) -> Labels {
    let mut labels = settings.labels.clone();
    let agents = tools::agent_kinds(settings);
    labels
        .0
        .extend(agents.into_iter().flat_map(|kind| kind.label().0));
    labels
}

/// What the settings say about the API; what they leave open is its own default.
pub fn producer_config(settings: &Settings) -> producer::ProducerConfig {
    producer::ProducerConfig {
        outbound: OutboundPolicy {
            allowed: settings.agent_networks.clone().unwrap_or_default(),
        },
        ..producer::ProducerConfig::default()
    }
}

/// This machine's name, for people who look at the list of workers.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
