//! The sample agent of `examples/` as one that asks for its tasks, as a process of its own.

use std::process::Command;

use tempfile::TempDir;

use super::binary::checkout;
use super::process::Process;
use super::wait::lines_of;
use super::{LeadKey, PATIENCE, Plan, Stand, Tenant, eventually};

// Dropped in this order: the process before its folder.
pub struct PullingAgent {
    process: Option<Process>,
    name: String,
    key: LeadKey,
    folder: TempDir,
}

impl PullingAgent {
    /// Registered with the stand, for this tenant.
    pub async fn start(stand: &Stand, tenant: &Tenant, name: &str, flags: &[&str]) -> Self {
        let folder = TempDir::with_prefix("agent-story-").expect("a folder");
        let key = tenant.lead_key().await;
        let mut command = Command::new(checkout().join("examples/agent/agent.py"));
        command
            .args(["--pull", "--server", &stand.url()])
            .args(["--tenant", &tenant.slug, "--name", name])
            .args(["--can", "documentation", "--capacity", "1"])
            .arg("--journal")
            .arg(folder.path().join("journal"))
            .args(flags)
            .env("ORCHESTRATOR_KEY", &key.text);
        let mut process = Process::start("the asking agent", command, &folder.path().join("log"));
        eventually("the agent is registered", PATIENCE, async || {
            let log = process.log();
            assert!(process.has_ended().is_none(), "the agent ended: {log}");
            log.contains("for tasks").then_some(())
        })
        .await;
        Self {
            process: Some(process),
            name: name.to_owned(),
            key,
            folder,
        }
    }

    /// It is no agent of the tenant's any more, and cannot become one again.
    pub async fn remove(&self, tenant: &Tenant) {
        tenant.remove_agent(&self.name, &self.key).await;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// How often something happened: `LEASE`, `begin`, `end`, `LOST`.
    pub fn count(&self, what: &str) -> usize {
        let of = |line: &&String| line.split(' ').next() == Some(what);
        self.journal().iter().filter(of).count()
    }

    pub fn journal(&self) -> Vec<String> {
        lines_of(&self.folder.path().join("journal"))
    }

    pub async fn does(&self, what: &str) {
        eventually(&format!("{what} of the agent"), PATIENCE, async || {
            (self.count(what) > 0).then_some(())
        })
        .await;
    }
}

impl Plan {
    /// Workers that run agents which registered themselves.
    #[must_use]
    pub fn with_registered_agents(self) -> Self {
        Self {
            agents: "echo,external",
            ..self
        }
    }
}
