//! What a worker runs jobs with: agents, trainers, and the places where they work.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapter_agents::eap::{ConfiguredEndpoints, EapAgent, HealthProbe};
use adapter_agents::guard::GuardCommand;
use adapter_agents::output::OutputLimits;
use adapter_agents::workspace::{Author, GitWorkspaces, Roots};
use adapter_agents::{
    CommandAgent, EchoAgent, Environment, ExternalAgent, ExternalSetup, OpenCodeAgent,
    OpenCodeSetup,
};
use adapter_training::SubprocessTrainer;
use anyhow::Context as _;
use application::agent_tokens::AgentTokens;
use application::ports::{Agent, AgentProbe, Ports};
use domain::AgentKind;
use workers::Tools;

use crate::compose::{isolation, outbound, worker_config};
use crate::config::{self, ConfigError, Settings};

/// The word that makes this program a guard, before anything else looks at its command line.
pub const GUARD: &str = "guard";
/// The word that makes this program the reference trainer.
pub const TRAINER: &str = "reference-trainer";

/// `work` is the folder for worktrees; what dead workers left there is swept away.
/// `tokens` are those of registered agents that have an address, if this installation has a secret for them.
pub async fn build(
    settings: &Settings,
    ports: &Ports,
    tokens: Option<AgentTokens>,
    work: &Path,
) -> anyhow::Result<Tools> {
    let roots = absolute(settings.roots.clone().unwrap_or_default())?;
    let closed = isolation::closed(settings, &roots)?;
    let roots = Roots::new(roots).without(closed);
    let environment = environment(settings);
    let author = match &settings.commit_author {
        Some(text) => text.parse().context("`commit_author` cannot be used")?,
        None => Author::default(),
    };
    let isolation = isolation::of_worker(settings).await?;
    let workspaces = GitWorkspaces::new(work, roots.clone(), &environment).with_author(author);
    let workspaces = Arc::new(workspaces);
    // It ends with the process.
    tokio::spawn(isolation::sweep_for_ever(
        Arc::clone(&workspaces),
        isolation.clone(),
    ));
    let guard = guard(settings).with_isolation(isolation);
    let kinds = agent_kinds(settings);
    let probes = kinds.contains(&AgentKind::External);
    let probe =
        probes.then(|| Arc::new(HealthProbe::new(outbound(settings))) as Arc<dyn AgentProbe>);
    let external = external(settings, ports, tokens, &environment);
    let agents = kinds
        .into_iter()
        .filter_map(|kind| match kind {
            AgentKind::External => Some(Ok(Arc::clone(&external))),
            kind => agent(kind, settings, ports, &guard, &environment, work).transpose(),
        })
        .collect::<Result<_, ConfigError>>()?;
    Ok(Tools {
        agents,
        trainers: vec![Arc::new(trainer(settings, guard, environment, roots))],
        workspaces,
        probe,
    })
}

/// The kinds of agents that a worker with these settings runs.
pub fn agent_kinds(settings: &Settings) -> Vec<AgentKind> {
    let echo = || vec![AgentKind::Echo];
    settings.agents.clone().unwrap_or_else(echo)
}

fn agent(
    kind: AgentKind,
    settings: &Settings,
    ports: &Ports,
    guard: &GuardCommand,
    environment: &Environment,
    work: &Path,
) -> Result<Option<Arc<dyn Agent>>, ConfigError> {
    let agent: Arc<dyn Agent> = match kind {
        // Sessions that are routed come with their agent's own kind; the other needs the store.
        AgentKind::Routed | AgentKind::External => return Ok(None),
        AgentKind::Echo => Arc::new(EchoAgent),
        AgentKind::Command => Arc::new(CommandAgent::new(
            guard.clone(),
            environment.clone(),
            output_limits(settings),
        )),
        AgentKind::OpenCode => Arc::new(opencode(settings, ports, guard, environment, work)?),
        AgentKind::Eap => Arc::new(eap(settings, environment)?),
    };
    Ok(Some(agent))
}

fn external(
    settings: &Settings,
    ports: &Ports,
    tokens: Option<AgentTokens>,
    environment: &Environment,
) -> Arc<dyn Agent> {
    let setup = ExternalSetup {
        agents: Arc::clone(&ports.agents),
        tasks: Arc::clone(&ports.agent_tasks),
        clock: Arc::clone(&ports.clock),
        tokens,
        outbound: outbound(settings),
    };
    Arc::new(ExternalAgent::new(setup, environment))
}

fn eap(settings: &Settings, environment: &Environment) -> Result<EapAgent, ConfigError> {
    let mut agents = Vec::new();
    for (name, agent) in &settings.eap {
        agents.push((name.clone(), agent.url.clone(), agent.token(name)?));
    }
    let endpoints = ConfiguredEndpoints::new(agents, config::variables())
        .map_err(|error| ConfigError(error.to_string()))?;
    Ok(EapAgent::new(Arc::new(endpoints), environment))
}

/// It is started in a run's folder, so it is absolute; a name without a folder is looked for on the PATH.
pub fn opencode_program(settings: &Settings) -> PathBuf {
    let program = settings
        .opencode
        .clone()
        .unwrap_or_else(|| PathBuf::from("opencode"));
    let is_name = program.components().count() == 1;
    match std::path::absolute(&program) {
        Ok(path) if !is_name => path,
        _ => program,
    }
}

/// What it kept of jobs that are not tried again is swept away.
fn opencode(
    settings: &Settings,
    ports: &Ports,
    guard: &GuardCommand,
    environment: &Environment,
    work: &Path,
) -> Result<OpenCodeAgent, ConfigError> {
    let setup = OpenCodeSetup {
        program: opencode_program(settings),
        config: settings.opencode_config.clone(),
        providers: settings
            .providers
            .iter()
            .map(|(name, set)| (name.clone(), set.into()))
            .collect(),
        tenants: Arc::clone(&ports.tenants),
        servers: settings.opencode_servers.clone(),
        variables: config::variables().collect(),
        folder: work.join("opencode"),
    };
    let limits = output_limits(settings);
    let agent = OpenCodeAgent::new(guard.clone(), environment.clone(), limits, setup)
        .map_err(|error| ConfigError(error.to_string()))?;
    match agent.sweep() {
        Ok(0) => {}
        Ok(swept) => tracing::info!(swept, "removed old conversations of OpenCode"),
        Err(error) => tracing::warn!(%error, "old conversations of OpenCode may be left"),
    }
    Ok(agent)
}

/// The operator's own trainer or, where none is named, the reference trainer in this binary.
fn trainer(
    settings: &Settings,
    guard: GuardCommand,
    environment: Environment,
    roots: Roots,
) -> SubprocessTrainer {
    let command = match settings.trainer.as_deref() {
        None | Some([]) => SubprocessTrainer::of_this_program(TRAINER),
        Some(words) => words.iter().map(OsString::from).collect(),
    };
    let limits = output_limits(settings);
    SubprocessTrainer::new(guard, command, environment, roots, limits)
}

/// A run ends with the lease of its worker, also when the worker cannot end it. A lease is renewed every third of its
/// length, so a worker that falls silent has at least two thirds of it left: nobody else runs its jobs before that.
fn guard(settings: &Settings) -> GuardCommand {
    let patience = worker_config(settings).lease * 2 / 3;
    GuardCommand::of_this_program(&[GUARD]).with_patience(patience)
}

fn environment(settings: &Settings) -> Environment {
    let allowed = settings.agent_variables.clone().unwrap_or_default();
    let secrets = config::SECRET_VARIABLES.map(str::to_owned);
    Environment::new(config::variables(), &allowed, &secrets)
}

fn output_limits(settings: &Settings) -> OutputLimits {
    let defaults = OutputLimits::default();
    let shown_bytes = settings.log_limit_bytes.unwrap_or(defaults.shown_bytes);
    OutputLimits {
        shown_bytes,
        killed_bytes: defaults.killed_bytes.max(shown_bytes),
    }
}

fn absolute(folders: Vec<PathBuf>) -> anyhow::Result<Vec<PathBuf>> {
    folders
        .into_iter()
        .map(|folder| {
            std::path::absolute(&folder)
                .with_context(|| format!("the root {} cannot be used", folder.display()))
        })
        .collect()
}
