//! The defaults that the commands choose themselves, as they would choose them here and now. Asks those who know; has no
//! values of its own.

use std::fmt::Display;
use std::path::PathBuf;

use adapter_agents::isolation::Limits;
use domain::AgentKind;

use crate::commands::{connect, dev, producer, worker};
use crate::compose::{data_dir, worker_config};
use crate::config::Settings;
use crate::{all_in_one, output};

/// What is in force for `key` when nobody set it; None where the settings themselves say it, or nothing is.
pub fn chosen(key: &str, settings: &Settings) -> anyhow::Result<Option<String>> {
    let worker = || worker_config(settings);
    let limits = Limits::default();
    let text = match key {
        "agent_networks" => "public addresses only".to_owned(),
        "agent_secret" | "agent_secret_file" => return Ok(agent_secret(settings)),
        "agents" => each(&[(list(worker::AGENTS), "worker"), (list(dev::AGENTS), "dev")]),
        "agent_variables" | "eap" | "hidden" | "readable" | "opencode_config" | "providers"
        | "opencode_servers" => "none".to_owned(),
        "artifacts_dir" => settings.artifacts_dir().display().to_string(),
        "commit_author" => "Orchestrator <orchestrator@localhost>".to_owned(),
        "concurrency" => worker().concurrency.to_string(),
        "cpu_limit_percent" => limit(limits.cpu_percent),
        "disk_limit_bytes" => limit(limits.disk_bytes),
        "drain_seconds" => worker().drain.as_secs().to_string(),
        "grace_seconds" => worker().grace.as_secs().to_string(),
        "key_file" => return Ok(key_file(settings)),
        "lease_seconds" => each(&[
            (worker().lease.as_secs().to_string(), "worker"),
            (dev::LEASE_SECONDS.to_string(), "dev"),
        ]),
        "log_limit_bytes" => worker().log_limit_bytes.to_string(),
        "memory_limit_bytes" => limit(limits.memory_bytes),
        "metrics_port" => each(&[
            (producer::METRICS_PORT.to_string(), "producer"),
            (all_in_one::METRICS_PORT.to_string(), "dev"),
            (worker::METRICS_PORT.to_string(), "worker"),
        ]),
        "opencode" => "opencode on the PATH".to_owned(),
        "pids_limit" => limit(limits.processes),
        "roots" => each(&[
            ("none".to_owned(), "worker"),
            (folders(&dev::roots()?), "dev"),
        ]),
        "trainer" => "the reference trainer".to_owned(),
        "url" => connect::local_url(settings),
        _ => return Ok(None),
    };
    Ok(Some(text))
}

fn limit(value: Option<u64>) -> String {
    value.map_or_else(|| "no limit".to_owned(), |value| value.to_string())
}

/// A `dev` makes its own where none is set.
fn agent_secret(settings: &Settings) -> Option<String> {
    let is_set = settings.agent_secret.is_some() || settings.agent_secret_file.is_some();
    (!is_set).then(|| "none (producer, worker); one of its own (dev)".to_owned())
}

/// The key that a `dev` left in the data folder, for clients of that `dev`.
fn key_file(settings: &Settings) -> Option<String> {
    let file = data_dir::admin_key(&settings.data_dir);
    let is_used = settings.url.is_none() && settings.key.is_none() && file.exists();
    is_used.then(|| file.display().to_string())
}

/// `echo, external (worker); echo, command, opencode, eap, external (dev)`
fn each(values: &[(String, &str)]) -> String {
    let said = values
        .iter()
        .map(|(value, command)| format!("{value} ({command})"));
    said.collect::<Vec<_>>().join("; ")
}

fn list(agents: &[AgentKind]) -> String {
    joined(agents.iter())
}

fn folders(folders: &[PathBuf]) -> String {
    joined(folders.iter().map(|folder| folder.display()))
}

fn joined(items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    if items.is_empty() {
        output::NOTHING.to_owned()
    } else {
        items.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &str, settings: &Settings) -> String {
        chosen(key, settings).unwrap().unwrap()
    }

    #[test]
    fn what_commands_choose_is_shown_as_they_choose_it() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_dir: folder.path().to_owned(),
            ..Settings::default()
        };
        let worker = workers::WorkerConfig::default();
        assert_eq!(
            said("agents", &settings),
            "echo, external (worker); echo, command, opencode, eap, external (dev)"
        );
        assert_eq!(
            said("metrics_port", &settings),
            "9100 (producer); 9100 (dev); 9101 (worker)"
        );
        assert_eq!(said("lease_seconds", &settings), "30 (worker); 300 (dev)");
        assert_eq!(
            said("concurrency", &settings),
            worker.concurrency.to_string()
        );
        let here = std::env::current_dir().unwrap();
        let roots = said("roots", &settings);
        let start = format!("none (worker); {}", here.display());
        assert!(roots.starts_with(&start), "{roots}");
        let artifacts = folder.path().join("artifacts").display().to_string();
        assert_eq!(said("artifacts_dir", &settings), artifacts);
    }

    #[test]
    fn the_key_of_a_dev_is_named_only_while_it_would_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            data_dir: folder.path().to_owned(),
            ..Settings::default()
        };
        assert_eq!(chosen("key_file", &settings).unwrap(), None);
        let file = data_dir::admin_key(folder.path());
        std::fs::write(&file, "orc_1_2\n").unwrap();
        assert_eq!(said("key_file", &settings), file.display().to_string());
        settings.url = Some("https://example.org".to_owned());
        assert_eq!(chosen("key_file", &settings).unwrap(), None);
    }

    #[test]
    fn no_setting_without_a_value_is_forgotten() {
        let nothing = [
            "amqp_url",
            "database_url",
            "key",
            "key_file",
            "redis_url",
            "tenant",
        ];
        let settings = Settings::default();
        let table = serde_json::to_value(&settings).unwrap();
        for (key, value) in table.as_object().unwrap() {
            let is_said = chosen(key, &settings).unwrap().is_some();
            assert!(
                is_said || !value.is_null() || nothing.contains(&key.as_str()),
                "doctor shows nothing for {key}"
            );
        }
    }
}
