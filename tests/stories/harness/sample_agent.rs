//! The sample agent of `examples/`, as a process of its own.

use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use super::binary::checkout;
use super::process::Process;
use super::wait::lines_of;
use super::{PATIENCE, Plan, eventually};

/// What the agents of stories want to be told.
pub const AGENT_TOKEN: &str = "story-token-0123456789abcdef";
/// The worker's variable that holds it.
const TOKEN_VARIABLE: &str = "STORY_AGENT_TOKEN";

// Dropped in this order: the process before its folder.
pub struct SampleAgent {
    process: Option<Process>,
    port: u16,
    flags: Vec<String>,
    folder: TempDir,
}

impl SampleAgent {
    /// On a free port, with these flags of its own.
    pub async fn start(flags: &[&str]) -> Self {
        let mut agent = Self {
            process: None,
            port: 0,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
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
            .args(&self.flags)
            .env("EAP_TOKEN", AGENT_TOKEN);
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
}
