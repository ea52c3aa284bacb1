//! The command line, run to its end.

use std::process::Stdio;
use std::time::Duration;

use super::stand::Stand;

/// The longest one is the demo, which takes half a minute on a machine of its own.
const LIMIT: Duration = Duration::from_secs(150);

pub struct Cli {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Cli {
    /// `orchestrator ARGUMENTS...` as a user of this stand, with its URL and the given key.
    pub async fn run(stand: &Stand, key: &str, arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::from(stand.client_command());
        command
            .args(arguments)
            .env("ORCHESTRATOR_URL", stand.url())
            .env("ORCHESTRATOR_KEY", key);
        Self::finish(command, arguments).await
    }

    /// With nothing said about where the server is or who asks.
    pub async fn bare(stand: &Stand, arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::from(stand.client_command());
        command.args(arguments);
        Self::finish(command, arguments).await
    }

    /// With nothing but these variables.
    pub async fn told(stand: &Stand, variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::from(stand.client_command());
        command.args(arguments).envs(variables.iter().copied());
        Self::finish(command, arguments).await
    }

    /// With the stand's own store, as its operator has it.
    pub async fn operator(stand: &Stand, arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::from(stand.operator_command());
        command.args(arguments);
        Self::finish(command, arguments).await
    }

    async fn finish(mut command: tokio::process::Command, arguments: &[&str]) -> Self {
        let running = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(LIMIT, running)
            .await
            .unwrap_or_else(|_| panic!("{arguments:?} does not end"))
            .expect("the program can be started");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }
}
