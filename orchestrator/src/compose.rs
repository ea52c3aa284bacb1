//! The composition root: the only place that knows which adapter stands behind which port.

pub mod data_dir;
pub mod direct;
pub mod embedded;
pub mod isolation;
pub mod services;
pub mod tools;

use std::time::Duration;

use application::agent_tokens::AgentTokens;
use application::outbound::OutboundPolicy;
use domain::Labels;

use crate::config::{ConfigError, Settings};

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
pub fn producer_config(
    settings: &Settings,
    agent_tokens: Option<AgentTokens>,
) -> producer::ProducerConfig {
    producer::ProducerConfig {
        outbound: outbound(settings),
        agent_tokens,
        ..producer::ProducerConfig::default()
    }
}

/// Where external agents may be.
pub fn outbound(settings: &Settings) -> OutboundPolicy {
    OutboundPolicy {
        allowed: settings.agent_networks.clone().unwrap_or_default(),
    }
}

/// Of the secret that the settings name, where they name one.
pub fn agent_tokens(settings: &Settings) -> Result<Option<AgentTokens>, ConfigError> {
    let (text, key) = match (&settings.agent_secret, &settings.agent_secret_file) {
        (None, None) => return Ok(None),
        (Some(secret), None) => (secret.reveal().to_owned(), "agent_secret"),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                ConfigError(format!(
                    "`agent_secret_file`: {} cannot be read: {error}",
                    path.display()
                ))
            })?;
            (text, "agent_secret_file")
        }
        (Some(_), Some(_)) => {
            return Err(ConfigError(
                "`agent_secret` and `agent_secret_file` are both set; keep one of them".to_owned(),
            ));
        }
    };
    let tokens = AgentTokens::new(text.trim());
    tokens
        .map(Some)
        .map_err(|weak| ConfigError(format!("`{key}` cannot be used: {weak}")))
}

/// This machine's name, for people who look at the list of workers.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn the_secret_of_agents_comes_from_one_place() {
        let secret = "0123456789abcdef0123456789abcdef";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        let of = |text: Option<&str>, file: Option<&std::path::Path>| {
            let settings = Settings {
                agent_secret: text.map(Secret::new),
                agent_secret_file: file.map(Into::into),
                ..Settings::default()
            };
            agent_tokens(&settings).map_err(|error| error.to_string())
        };
        assert!(of(None, None).unwrap().is_none());
        let token = |tokens: Option<AgentTokens>| {
            let agent = "0198c5a2-7e1b-7cc0-8000-0123456789ab".parse().unwrap();
            tokens.unwrap().token(agent, 1)
        };
        let given = token(of(Some(secret), None).unwrap());
        assert_eq!(given, token(of(None, Some(&file)).unwrap()));
        for (text, file, words) in [
            (Some(secret), Some(file.as_path()), "keep one of them"),
            (Some("short"), None, "openssl rand"),
            (None, Some(folder.path()), "cannot be read"),
        ] {
            let error = of(text, file).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
