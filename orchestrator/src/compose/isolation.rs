//! How a worker keeps sessions to themselves: what the operator set, on what the machine gives.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapter_agents::isolation::{Demand, Isolation, IsolationSetup, Limits, sweep_processes};
use adapter_agents::workspace::GitWorkspaces;
use anyhow::{Context as _, bail};
use domain::AgentKind;

use crate::config::{self, EapSettings, IsolationDemand, Network, ProviderSettings, Settings};

/// How soon what a killed worker left is found by another one. Looking reads all of `/proc`.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// Tries what the machine gives. `as_worker`: this process may be moved into a control group below its own.
pub async fn detect(settings: &Settings, as_worker: bool) -> anyhow::Result<Isolation> {
    let setup = setup(settings)?;
    let detected = tokio::task::spawn_blocking(move || Isolation::detect(setup, as_worker));
    detected.await.context("isolation could not be looked for")
}

/// Settings that do not go together, whatever the machine gives.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    let is_off = settings.network == Network::Off;
    if is_off && settings.isolation == IsolationDemand::None {
        bail!("--network off takes isolation: leave --isolation none out, or the other");
    }
    let agents = settings.agents.as_deref().unwrap_or_default();
    if is_off && agents.contains(&AgentKind::OpenCode) {
        bail!(
            "--network off and the agent opencode do not go together: a model is reached over the network. Name the others: --agents echo,command (eap works too)"
        );
    }
    Ok(())
}

/// The isolation of a worker that is about to start.
pub async fn of_worker(settings: &Settings) -> anyhow::Result<Isolation> {
    check(settings)?;
    let agents = settings.agents.as_deref().unwrap_or_default();
    let isolation = detect(settings, true).await?;
    isolation.check()?;
    let level = isolation.level();
    let runs_programs = |kind: &AgentKind| matches!(kind, AgentKind::Command | AgentKind::OpenCode);
    let is_asked_for = settings.isolation != IsolationDemand::None;
    if is_asked_for && !isolation.is_private() && agents.iter().any(runs_programs) {
        tracing::warn!(
            level,
            "sessions are not isolated on this machine; `orchestrator doctor` says what is missing"
        );
    } else {
        tracing::info!(level, "isolation of sessions");
    }
    Ok(isolation)
}

fn setup(settings: &Settings) -> anyhow::Result<IsolationSetup> {
    let defaults = Limits::default();
    let limit = |given: Option<u64>, default| match given {
        Some(0) => None,
        Some(number) => Some(number),
        None => default,
    };
    let path = config::variables().find(|(name, _)| name == "PATH");
    Ok(IsolationSetup {
        demand: match settings.isolation {
            IsolationDemand::Auto => Demand::Auto,
            IsolationDemand::None => Demand::None,
            IsolationDemand::Required => Demand::Required,
        },
        without_network: settings.network == Network::Off,
        limits: Limits {
            memory_bytes: limit(settings.memory_limit_bytes, defaults.memory_bytes),
            processes: limit(settings.pids_limit, defaults.processes),
            cpu_percent: limit(settings.cpu_limit_percent, defaults.cpu_percent),
            disk_bytes: limit(settings.disk_limit_bytes, defaults.disk_bytes),
        },
        hidden: hidden(settings)?,
        readable: real(settings.readable.as_deref().unwrap_or_default())?,
        home: config::home(),
        path: path.map(|(_, value)| value).unwrap_or_default(),
    })
}

/// What holds other sessions' files, keys and passwords of ours: whatever a setting names for that is hidden without a word.
fn hidden(settings: &Settings) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = own(settings)?;
    all.extend(real(settings.hidden.as_deref().unwrap_or_default())?);
    Ok(all)
}

/// What jobs may not name either, although it lies below one of `roots`: the same, but for roots that sessions are not to see
/// and that their repositories come from.
pub fn closed(settings: &Settings, roots: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let roots = real(roots)?;
    let hidden = real(settings.hidden.as_deref().unwrap_or_default())?;
    let mut all = own(settings)?;
    all.extend(hidden.into_iter().filter(|path| !roots.contains(path)));
    Ok(all)
}

fn own(settings: &Settings) -> anyhow::Result<Vec<PathBuf>> {
    let artifacts = settings.artifacts_dir();
    let own = [
        settings.data_dir.as_path(),
        &artifacts,
        Path::new(config::FILE),
    ];
    let named = [
        &settings.agent_secret_file,
        &settings.key_file,
        &settings.opencode_config,
        &settings.opencode_servers,
    ];
    let named = named.into_iter().filter_map(|file| file.as_deref());
    let tokens = settings.eap.values().filter_map(EapSettings::secret_file);
    let providers = settings
        .providers
        .values()
        .map(ProviderSettings::secret_file);
    let all: Vec<PathBuf> = own
        .into_iter()
        .chain(named)
        .chain(tokens)
        .chain(providers)
        .map(Path::to_owned)
        .collect();
    real(&all)
}

/// Where the paths lead to; as they are where nothing is yet.
fn real(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let real = |path: &PathBuf| match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) => std::path::absolute(path),
    };
    let all: Result<Vec<PathBuf>, _> = paths.iter().map(real).collect();
    all.context("a path of the isolation's settings cannot be used")
}

/// Removes what runs of dead workers left, now and then, for as long as this process runs: their processes, control
/// groups, worktrees and private folders.
pub async fn sweep_for_ever(workspaces: Arc<GitWorkspaces>, isolation: Isolation) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        sweep(&workspaces, &isolation).await;
    }
}

async fn sweep(workspaces: &GitWorkspaces, isolation: &Isolation) {
    let isolation = isolation.clone();
    let processes = tokio::task::spawn_blocking(move || {
        let groups = isolation.sweep_groups();
        (groups, sweep_processes())
    });
    match processes.await {
        Ok((0, 0)) => {}
        Ok((groups, processes)) => {
            tracing::info!(groups, processes, "ended what dead workers' runs had left");
        }
        Err(error) => tracing::warn!(%error, "processes of dead runs may be left"),
    }
    match workspaces.sweep().await {
        Ok(0) => {}
        Ok(swept) => tracing::info!(swept, "removed the worktrees of dead runs"),
        Err(error) => tracing::warn!(%error, "worktrees of dead runs may be left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings that are a text and name no file with secrets, or one that sessions have to see.
    const NOT_HIDDEN: [&str; 11] = [
        "agent_variables",
        "commit_author",
        "host",
        "log",
        "namespace",
        "opencode",
        "readable",
        "roots",
        "tenant",
        "trainer",
        "url",
    ];

    #[test]
    fn no_setting_that_may_name_a_file_is_forgotten() {
        let defaults = serde_json::to_value(Settings::default()).unwrap();
        let mut not_hidden = Vec::new();
        for key in defaults.as_object().unwrap().keys() {
            let path = format!("/nowhere/{key}");
            let mut table = defaults.clone();
            table[key] = path.as_str().into();
            let Ok(settings) = serde_json::from_value::<Settings>(table) else {
                continue; // It is no text.
            };
            let shown = &serde_json::to_value(&settings).unwrap()[key];
            // A secret is not shown as it is, and names no file.
            let is_text = *shown == path.as_str() || *shown == serde_json::json!([path]);
            let is_hidden = hidden(&settings).unwrap().contains(&PathBuf::from(path));
            if is_text && !is_hidden {
                not_hidden.push(key.as_str());
            }
        }
        assert_eq!(
            not_hidden, NOT_HIDDEN,
            "hide what a new setting names, or write here that it needs no hiding"
        );
    }

    #[test]
    fn files_that_tables_of_settings_name_are_hidden() {
        let path = |name: &str| PathBuf::from(format!("/nowhere/{name}"));
        let agent = EapSettings {
            url: "http://127.0.0.1:1".to_owned(),
            token_env: None,
            token_file: Some(path("token")),
        };
        let providers = ProviderSettings {
            file: path("providers"),
            tenants: Vec::new(),
        };
        let settings = Settings {
            eap: [("a".to_owned(), agent)].into(),
            providers: [("p".to_owned(), providers)].into(),
            ..Settings::default()
        };
        let hidden = hidden(&settings).unwrap();
        for name in ["token", "providers"] {
            assert!(hidden.contains(&path(name)), "{name} is seen");
        }
    }
}
