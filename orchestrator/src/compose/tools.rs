//! What a worker runs jobs with: agents, trainers, and the places where they work.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapter_agents::guard::GuardCommand;
use adapter_agents::output::OutputLimits;
use adapter_agents::workspace::{Author, GitWorkspaces, Roots};
use adapter_agents::{CommandAgent, EchoAgent, Environment, OpenCodeAgent, OpenCodeSetup};
use adapter_training::SubprocessTrainer;
use anyhow::Context as _;
use application::ports::Agent;
use domain::AgentKind;
use workers::Tools;

use crate::compose::worker_config;
use crate::config::{self, Settings};

/// The word that makes this program a guard, before anything else looks at its command line.
pub const GUARD: &str = "guard";
/// The word that makes this program the reference trainer.
pub const TRAINER: &str = "reference-trainer";

/// `work` is the folder for worktrees; what dead workers left there is swept away.
pub async fn build(settings: &Settings, work: &Path) -> anyhow::Result<Tools> {
    let roots = Roots::new(absolute(settings.roots.clone().unwrap_or_default())?);
    let environment = environment(settings);
    let author = match &settings.commit_author {
        Some(text) => text.parse().context("`commit_author` cannot be used")?,
        None => Author::default(),
    };
    let workspaces = GitWorkspaces::new(work, roots.clone(), &environment).with_author(author);
    match workspaces.sweep().await {
        Ok(0) => {}
        Ok(swept) => tracing::info!(swept, "removed the worktrees of dead runs"),
        Err(error) => {
            tracing::warn!(%error, folder = %work.display(), "worktrees of dead runs may be left");
        }
    }
    let kinds = settings
        .agents
        .clone()
        .unwrap_or_else(|| vec![AgentKind::Echo]);
    let agents = kinds
        .into_iter()
        .map(|kind| agent(kind, settings, &environment, work))
        .collect();
    Ok(Tools {
        agents,
        trainers: vec![Arc::new(trainer(settings, environment, roots))],
        workspaces: Arc::new(workspaces),
    })
}

fn agent(
    kind: AgentKind,
    settings: &Settings,
    environment: &Environment,
    work: &Path,
) -> Arc<dyn Agent> {
    match kind {
        AgentKind::Echo => Arc::new(EchoAgent),
        AgentKind::Command => Arc::new(CommandAgent::new(
            guard(settings),
            environment.clone(),
            output_limits(settings),
        )),
        AgentKind::OpenCode => Arc::new(opencode(settings, environment, work)),
    }
}

/// What it kept of jobs that are not tried again is swept away.
fn opencode(settings: &Settings, environment: &Environment, work: &Path) -> OpenCodeAgent {
    let program = settings
        .opencode
        .clone()
        .unwrap_or_else(|| PathBuf::from("opencode"));
    // It is started in a run's folder; a name without a folder is looked for on the PATH.
    let is_name = program.components().count() == 1;
    let program = match std::path::absolute(&program) {
        Ok(path) if !is_name => path,
        _ => program,
    };
    let setup = OpenCodeSetup {
        program,
        config: settings.opencode_config.clone(),
        variables: config::variables().collect(),
        folder: work.join("opencode"),
    };
    let limits = output_limits(settings);
    let agent = OpenCodeAgent::new(guard(settings), environment.clone(), limits, setup);
    match agent.sweep() {
        Ok(0) => {}
        Ok(swept) => tracing::info!(swept, "removed old conversations of OpenCode"),
        Err(error) => tracing::warn!(%error, "old conversations of OpenCode may be left"),
    }
    agent
}

/// The operator's own trainer or, where none is named, the reference trainer in this binary.
fn trainer(settings: &Settings, environment: Environment, roots: Roots) -> SubprocessTrainer {
    let command = match settings.trainer.as_deref() {
        None | Some([]) => SubprocessTrainer::of_this_program(TRAINER),
        Some(words) => words.iter().map(OsString::from).collect(),
    };
    let limits = output_limits(settings);
    SubprocessTrainer::new(guard(settings), command, environment, roots, limits)
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
