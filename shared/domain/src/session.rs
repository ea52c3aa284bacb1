//! A coding session: an agent works on a repository, or in an empty folder.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Demands, Eap, External, Labels, OpenCode, RouteRequest, Violations};

const PROMPT_MAX: usize = 256 * 1024;
const ARGS_MAX: usize = 256;
const ARG_MAX: usize = 64 * 1024;
const PATH_MAX: usize = 4096;
const KEEP_MAX: usize = 100;
/// What the run changed, kept with it.
pub const DIFF_ARTIFACT: &str = "session.diff";
/// What a run that goes on later has changed so far.
pub const PATCH_ARTIFACT: &str = "worktree.patch";
/// What an external agent handed over beside its files.
pub const OUTPUT_ARTIFACT: &str = "eap-output.json";
/// An artifact of the session's own would take their place.
const OWN_ARTIFACTS: [&str; 3] = [DIFF_ARTIFACT, PATCH_ARTIFACT, OUTPUT_ARTIFACT];
/// Why a session cannot name such an agent.
const NOT_NAMED: &str = "agents that register themselves are not named; give `capabilities`, and `preferred_agent` for one of them";
/// An hour; whoever wants to wait longer submits with `run_after`.
const ECHO_DELAY_MAX: u64 = 3600;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSpec {
    /// What the agent is asked to do; may be empty for agents that need no words.
    #[serde(default)]
    pub prompt: String,
    pub agent: AgentSpec,
    /// Where the agent works: a worktree of this, or an empty folder when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// Files of the worktree to keep as artifacts, relative paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// What is asked of the agent's work.
    #[serde(flatten)]
    pub demands: Box<Demands>,
}

/// The kinds of agents that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// Answers at once, or after a delay; for tests and benchmarks.
    Echo,
    /// Runs a command line in the worktree.
    Command,
    /// A model works in the worktree, by way of an `OpenCode` server of its own.
    #[serde(rename = "opencode")]
    OpenCode,
    /// A program elsewhere works, by way of the External Agent Protocol.
    Eap,
    /// A program elsewhere works that registered itself. No session names it: it is chosen by what it can do.
    External,
    /// None yet: a registered one is chosen when the session is claimed. No worker runs it as such.
    Routed,
}

/// The text names no kind of agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of agent; use echo, command, opencode, eap or external")]
pub struct UnknownAgent(pub String);

impl AgentKind {
    /// Those that workers run.
    pub const ALL: [Self; 5] = [
        Self::Echo,
        Self::Command,
        Self::OpenCode,
        Self::Eap,
        Self::External,
    ];

    /// What a worker that runs such agents has, and a job may ask for: `agent/command=yes`.
    pub fn label(self) -> Labels {
        Labels(BTreeMap::from([(
            format!("agent/{self}"),
            "yes".to_owned(),
        )]))
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Command => "command",
            Self::OpenCode => "opencode",
            Self::Eap => "eap",
            Self::External => "external",
            Self::Routed => "routed",
        }
    }
}

impl fmt::Display for AgentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AgentKind {
    type Err = UnknownAgent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownAgent(text.chars().take(64).collect()))
    }
}

/// Which agent does the work, with what it needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AgentSpec {
    /// Waits, which holds the worker's slot and costs nothing else, then answers. A new run waits anew.
    Echo {
        #[serde(default, skip_serializing_if = "is_zero")]
        delay_seconds: u32,
    },
    Command(Command),
    #[serde(rename = "opencode")]
    OpenCode(OpenCode),
    Eap(Eap),
    /// The registered agent that a session was given with its claim; no session is stored with it.
    External(External),
    /// Whichever registered agent suits best when the session is claimed; that one's own spec is run then.
    Routed(RouteRequest),
}

/// A program with arguments, or a line for `/bin/sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Argv(Vec<String>),
    Run(String),
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl AgentSpec {
    /// Answers at once.
    pub const ECHO: Self = Self::Echo { delay_seconds: 0 };

    pub const fn kind(&self) -> AgentKind {
        match self {
            Self::Echo { .. } => AgentKind::Echo,
            Self::Command(_) => AgentKind::Command,
            Self::OpenCode(_) => AgentKind::OpenCode,
            Self::Eap(_) => AgentKind::Eap,
            Self::External(_) => AgentKind::External,
            Self::Routed(_) => AgentKind::Routed,
        }
    }

    /// The same, with what the session hands to an agent that works elsewhere, over what the agent is registered with;
    /// others see the whole worktree.
    #[must_use]
    pub(crate) fn handed(mut self, request: &RouteRequest) -> Self {
        if let Self::Eap(Eap {
            task_type,
            files,
            input_data,
            ..
        })
        | Self::External(External {
            task_type,
            files,
            input_data,
            ..
        }) = &mut self
        {
            if request.task_type.is_some() {
                task_type.clone_from(&request.task_type);
            }
            let new = request.files.iter().filter(|file| !files.contains(file));
            let new: Vec<String> = new.cloned().collect();
            files.extend(new);
            input_data.extend(request.input_data.clone());
        }
        self
    }

    /// What is wrong with it whatever it is asked to do.
    pub(crate) fn check_template(&self, violations: &mut Violations) {
        match self {
            Self::Command(command) => command.check(violations),
            Self::OpenCode(opencode) => opencode.check(violations),
            Self::Eap(eap) => eap.check(violations),
            Self::External(_) => violations.add("/agent/kind", NOT_NAMED),
            Self::Routed(_) => violations.add("/agent", "must be an agent, not a wish for one"),
            Self::Echo { delay_seconds } => violations.range(
                "/agent/delay_seconds",
                (*delay_seconds).into(),
                0,
                ECHO_DELAY_MAX,
            ),
        }
    }
}

/// A local git repository and the revision that work starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Absolute path on the workers; must lie below one of their configured roots.
    pub path: String,
    /// Branch, tag or commit.
    #[serde(rename = "ref", default = "head")]
    pub reference: String,
    /// No other exclusive session works on this branch of this repository at the same time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exclusive: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

fn head() -> String {
    "HEAD".to_owned()
}

impl SessionSpec {
    pub(crate) fn check(&self, violations: &mut Violations) {
        violations.text("/prompt", &self.prompt, 0, PROMPT_MAX);
        if matches!(self.agent, AgentSpec::OpenCode(_)) && self.prompt.trim().is_empty() {
            violations.add(
                "/prompt",
                "must not be empty: the agent opencode does what it says",
            );
        }
        if let (AgentSpec::Eap(eap), None) = (&self.agent, &self.repository)
            && !eap.files.is_empty()
        {
            violations.add(
                "/agent/files",
                "names files, and without a repository there are none",
            );
        }
        if let (AgentSpec::Routed(request), None) = (&self.agent, &self.repository)
            && !request.files.is_empty()
        {
            violations.add(
                "/files",
                "names files, and without a repository there are none",
            );
        }
        match &self.agent {
            AgentSpec::Routed(request) => request.check(violations),
            agent => agent.check_template(violations),
        }
        if let Some(repository) = &self.repository {
            repository.check(violations);
        }
        self.demands.check(self.repository.is_some(), violations);
        if self.keep.len() > KEEP_MAX {
            violations.add(
                "/keep",
                format!(
                    "names {} files; at most {KEEP_MAX} are kept",
                    self.keep.len()
                ),
            );
        }
        for (index, path) in self.keep.iter().enumerate() {
            if !is_inside(path) {
                violations.add(
                    format!("/keep/{index}"),
                    "must be a relative path that stays inside the worktree",
                );
            }
            if OWN_ARTIFACTS.contains(&path.as_str()) {
                violations.add(
                    format!("/keep/{index}"),
                    format!("must be another name: `{path}` is what a run keeps by itself"),
                );
            }
        }
    }
}

impl Command {
    fn check(&self, violations: &mut Violations) {
        match self {
            Self::Run(line) => violations.text("/agent/run", line, 1, ARG_MAX),
            Self::Argv(argv) => {
                if argv.first().is_none_or(String::is_empty) {
                    violations.add("/agent/argv", "must name a program");
                }
                if argv.len() > ARGS_MAX {
                    violations.add(
                        "/agent/argv",
                        format!(
                            "has {} arguments; at most {ARGS_MAX} are allowed",
                            argv.len()
                        ),
                    );
                }
                for (index, argument) in argv.iter().enumerate() {
                    violations.text(&format!("/agent/argv/{index}"), argument, 0, ARG_MAX);
                }
            }
        }
    }
}

impl Repository {
    fn check(&self, violations: &mut Violations) {
        violations.text("/repository/path", &self.path, 1, PATH_MAX);
        if !self.path.starts_with('/') {
            violations.add("/repository/path", "must be an absolute path");
        }
        violations.text("/repository/ref", &self.reference, 1, 255);
        // A revision that starts with a dash would be read by git as an option.
        if self.reference.starts_with('-') || self.reference.contains(char::is_whitespace) {
            violations.add("/repository/ref", "must be a branch, tag or commit");
        }
    }
}

/// A relative path without `..`, `.git` or an empty part.
pub fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= PATH_MAX
        && !path.contains('\0')
        && path
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git"))
}
