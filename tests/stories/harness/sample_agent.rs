//! The sample agent of `examples/`, as a process of its own.

use std::net::TcpStream;
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::binary::checkout;
use super::process::Process;
use super::wait::lines_of;
use super::{LeadKey, Mode, PATIENCE, Plan, Stand, Tenant, eventually};

/// What the agents of stories want to be told.
pub const AGENT_TOKEN: &str = "story-token-0123456789abcdef";
/// What tokens of agents that register themselves are made of, where servers are told.
pub const AGENT_SECRET: &str = "story-secret-0123456789abcdef0123456789abcdef";
/// The worker's variable that holds it.
const TOKEN_VARIABLE: &str = "STORY_AGENT_TOKEN";

// Dropped in this order: the process before its folder.
pub struct SampleAgent {
    process: Option<Process>,
    port: u16,
    flags: Vec<String>,
    /// What it registers itself with, and as.
    registered: Option<(String, LeadKey)>,
    folder: TempDir,
}

impl SampleAgent {
    /// On a free port, with these flags of its own.
    pub async fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, None).await
    }

    /// One that registers itself under this name as an agent of the tenant, and is free for work when this returns.
    pub async fn register(stand: &Stand, tenant: &Tenant, name: &str, flags: &[&str]) -> Self {
        let key = tenant.lead_key().await;
        let url = stand.url();
        let flags = [&["--register", &url, "--name", name], flags].concat();
        let agent = Self::start_with(&flags, Some((name.to_owned(), key))).await;
        eventually(&format!("{name} is available"), PATIENCE, async || {
            let shown = tenant.agent(name).await;
            (shown["available"] == true).then_some(())
        })
        .await;
        agent
    }

    async fn start_with(flags: &[&str], registered: Option<(String, LeadKey)>) -> Self {
        let mut agent = Self {
            process: None,
            port: 0,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            registered,
            folder: TempDir::with_prefix("agent-story-").expect("a folder"),
        };
        agent.start_again().await;
        agent
    }

    /// With nothing remembered, where it was before.
    pub async fn start_again(&mut self) {
        let mut command = Command::new(checkout().join("examples/agent/agent.py"));
        command
            .args(["--port", &self.port.to_string()])
            .arg("--journal")
            .arg(self.folder.path().join("journal"))
            .args(&self.flags);
        match &self.registered {
            Some((_, key)) => command.env("ORCHESTRATOR_KEY", &key.text),
            None => command.env("EAP_TOKEN", AGENT_TOKEN),
        };
        let log = self.folder.path().join("log");
        let mut process = Process::start("the sample agent", command, &log);
        self.port = eventually("the sample agent listens", PATIENCE, async || {
            let log = process.log();
            assert!(process.has_ended().is_none(), "the agent ended: {log}");
            let line = log.lines().rfind(|line| line.starts_with("listening on"))?;
            let port: u16 = line.rsplit(':').next()?.parse().ok()?;
            TcpStream::connect(("127.0.0.1", port)).ok().map(|_| port)
        })
        .await;
        self.process = Some(process);
    }

    /// `kill -9`: whatever it knew is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// It is no agent of the tenant's any more, and cannot become one again.
    pub async fn remove(&self, tenant: &Tenant) {
        let (name, key) = self.registered.as_ref().expect("it registered");
        tenant.remove_agent(name, key).await;
    }

    /// What it printed.
    pub fn says(&self, words: &str) -> bool {
        let process = self.process.as_ref().expect("it runs");
        process.log().contains(words)
    }

    /// It is there, and neither works nor answers.
    pub fn freeze(&self) {
        let process = self.process.as_ref().expect("it runs");
        process.signal(Signal::SIGSTOP);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The tasks that something happened to, in order.
    pub fn tasks(&self, what: &str) -> Vec<String> {
        let lines = lines_of(&self.folder.path().join("journal"));
        let words = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
        let those = words.filter(|words| words.first() == Some(&what));
        those.map(|words| words[1].to_owned()).collect()
    }

    /// How often something happened: `POST`, `begin`, `end`, `DELETE`.
    pub fn count(&self, what: &str) -> usize {
        let lines = lines_of(&self.folder.path().join("journal"));
        let of = |line: &&String| line.split(' ').next() == Some(what);
        lines.iter().filter(of).count()
    }
}

impl Plan {
    /// One worker that knows these agents, by name and address, and their token.
    #[must_use]
    pub fn with_agents(self, agents: &[(&str, &str)]) -> Self {
        let tables = agents.iter().map(|(name, url)| {
            format!("[eap.{name}]\nurl = \"{url}\"\ntoken_env = \"{TOKEN_VARIABLE}\"\n")
        });
        Self {
            workers: 1,
            agents: "echo,command,eap",
            config: tables.collect(),
            variables: vec![(TOKEN_VARIABLE.to_owned(), AGENT_TOKEN.to_owned())],
            ..self
        }
    }

    /// Agents of this machine may register themselves, and are given tasks.
    #[must_use]
    pub fn with_external_agents(self, mode: Mode) -> Self {
        let mut variables = vec![(
            "ORCHESTRATOR_AGENT_NETWORKS".to_owned(),
            "127.0.0.0/8".to_owned(),
        )];
        // In embedded mode the program makes one of its own.
        if mode == Mode::Services {
            variables.push((
                "ORCHESTRATOR_AGENT_SECRET".to_owned(),
                AGENT_SECRET.to_owned(),
            ));
        }
        Self {
            agents: "echo,external",
            variables,
            ..self
        }
    }
}
