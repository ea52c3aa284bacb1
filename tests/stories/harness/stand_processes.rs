//! The processes of a stand: how they are started, found, killed and told to leave.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::binary::binary;
use super::process::Process;
use super::{Api, Mode, PATIENCE, Stand, eventually};

/// For what does not wait for anything.
const AT_ONCE: Duration = Duration::from_secs(10);
/// Another process may take a port between its choice and its use.
const PORT_TRIES: u32 = 3;

impl Stand {
    /// The program in an environment that says nothing about any installation.
    pub fn client_command(&self) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.installation.folder.path());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("ORCHESTRATOR_") || text.ends_with("_URL") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// The program as this installation's operator calls it: it knows the stores.
    pub fn operator_command(&self) -> Command {
        let plan = self.plan();
        let mut command = self.client_command();
        command
            .env("ORCHESTRATOR_LEASE_SECONDS", plan.lease_seconds.to_string())
            .env("ORCHESTRATOR_GRACE_SECONDS", plan.grace_seconds.to_string())
            .env("ORCHESTRATOR_DRAIN_SECONDS", plan.drain_seconds.to_string())
            // Sessions of stories leave marks for them outside of their worktrees.
            .env("ORCHESTRATOR_ISOLATION", "none");
        if let Some(services) = &self.installation.services {
            command.envs(services.variables());
        }
        command.envs(plan.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command of the operator's to its end, and returns what it printed.
    fn operate(&self, arguments: &[&str]) -> String {
        let output = self.operator_command().args(arguments).output();
        let output = output.expect("the program can be started");
        assert!(
            output.status.success(),
            "orchestrator {arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    pub(super) async fn start_services(&self) {
        self.operate(&["migrate"]);
        let key = self.operate(&["key", "create", "--tenant", "default", "--role", "admin"]);
        self.set_admin_key(key.trim());
        self.start_server("producer", || {
            let mut command = self.operator_command();
            command.arg("producer");
            command
        })
        .await;
        for _ in 0..self.plan().workers {
            self.start_worker();
        }
        self.workers_are(self.plan().workers).await;
    }

    pub(super) async fn start_dev(&self) {
        self.serve_dev().await;
        let key = std::fs::read_to_string(self.data_dir().join("admin.key"));
        self.set_admin_key(key.expect("dev leaves the admin's key").trim());
        self.workers_are(1).await;
    }

    async fn serve_dev(&self) {
        self.start_server("dev", || {
            let mut command = self.operator_command();
            command.arg("dev").args(self.worker_flags());
            command
        })
        .await;
    }

    /// Starts a process with an API, on the port it had before or on a free one, and waits until it is ready.
    async fn start_server(&self, name: &str, command: impl Fn() -> Command) {
        for attempt in 1.. {
            let mut port = self.installation.port.load(Ordering::SeqCst);
            if port == 0 || attempt > 1 {
                port = free_port();
                self.installation.port.store(port, Ordering::SeqCst);
            }
            let mut command = command();
            command.args(["--metrics-port", "0", "--port", &port.to_string()]);
            command.arg("--data-dir").arg(self.data_dir());
            self.start(name, command);
            if self.answers(name).await {
                return;
            }
            let log = self.with(name, |process| process.log());
            assert!(attempt < PORT_TRIES, "{name} ended at once: {log}");
            self.processes().retain(|process| process.name != name);
        }
    }

    /// True when the process is ready to serve; false when it ended.
    async fn answers(&self, name: &str) -> bool {
        let api = Api::new(&self.url(), None);
        eventually(&format!("{name} is ready"), PATIENCE, async || {
            if self.with(name, Process::has_ended).is_some() {
                return Some(false);
            }
            api.is_ready().await.then_some(true)
        })
        .await
    }

    fn worker_flags(&self) -> Vec<String> {
        let labels = self.installation.labels.lock();
        let labels = labels.unwrap_or_else(PoisonError::into_inner).clone();
        let labels = (!labels.is_empty()).then(|| ["--label".to_owned(), labels]);
        // The data folder lies below it, as it does where a `dev` is started at home.
        let roots = self.installation.folder.path().display().to_string();
        let concurrency = self.plan().concurrency.to_string();
        let flags = [
            "--agents",
            self.plan().agents,
            "--roots",
            &roots,
            "--concurrency",
            &concurrency,
        ];
        flags
            .into_iter()
            .map(str::to_owned)
            .chain(labels.into_iter().flatten())
            .collect()
    }

    /// Starts one more worker and returns its name.
    pub fn start_worker(&self) -> String {
        self.start_worker_in(&self.data_dir())
    }

    /// The same, with its worktrees in a folder of its own.
    pub fn start_worker_in(&self, data_dir: &Path) -> String {
        let number = self
            .installation
            .started_workers
            .fetch_add(1, Ordering::SeqCst)
            + 1;
        let name = format!("worker-{number}");
        let mut command = self.operator_command();
        command
            .arg("worker")
            .args(self.worker_flags())
            .args(["--metrics-port", "0"])
            .env(
                "ORCHESTRATOR_ARTIFACTS_DIR",
                self.data_dir().join("artifacts"),
            )
            .arg("--data-dir")
            .arg(data_dir);
        self.start(&name, command);
        name
    }

    /// From now on there is a worker with these labels: one more, or the next `dev` on the same data folder. Its id.
    pub async fn bring_worker_with(&self, labels: &str) -> String {
        {
            let told = self.installation.labels.lock();
            labels.clone_into(&mut told.unwrap_or_else(PoisonError::into_inner));
        }
        match self.mode() {
            Mode::Embedded => {
                self.leave(PATIENCE).await;
            }
            Mode::Services => {
                self.start_worker();
            }
        }
        let admin = self.admin();
        eventually(&format!("a worker with {labels}"), PATIENCE, async || {
            let workers = admin.get("/api/v1/workers").await.expect(200).json();
            let workers = workers["items"].as_array().expect("a list").clone();
            let has = |worker: &Value| {
                let told = worker["labels"].as_object().expect("labels");
                // Which agents it runs, it says by itself.
                let words = told
                    .iter()
                    .filter(|(key, _)| !key.starts_with("agent/"))
                    .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
                words.collect::<Vec<_>>().join(",") == labels
            };
            let worker = workers.into_iter().find(has)?;
            worker["id"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Waits until so many workers are alive.
    pub async fn workers_are(&self, count: usize) {
        let admin = self.admin();
        eventually(&format!("{count} workers"), PATIENCE, async || {
            let workers = admin.get("/api/v1/workers").await.expect(200).json();
            let workers = workers["items"].as_array().expect("a list").clone();
            let alive = workers
                .iter()
                .filter(|worker| worker["alive"] == true)
                .count();
            (alive == count).then_some(())
        })
        .await;
    }

    /// `kill -9` of whatever runs jobs, and of nothing else, while another one is there to take over: a second worker,
    /// or the next `dev` on the same data folder. `between` looks at what the dead one left.
    pub async fn crash(&self, between: impl AsyncFnOnce()) {
        let successor = self.before_successor().await;
        self.with(&self.runner(), Process::kill_alone);
        between().await;
        self.after_successor(successor).await;
    }

    /// SIGTERM to whatever runs jobs, while another one is there to take over. Returns its exit code.
    pub async fn leave(&self, limit: Duration) -> i32 {
        let successor = self.before_successor().await;
        let name = self.runner();
        self.with(&name, |process| process.signal(Signal::SIGTERM));
        let code = eventually(&format!("{name} ends"), limit, async || {
            let status = self.with(&name, Process::has_ended)?;
            Some(status.code().unwrap_or(-1))
        })
        .await;
        self.after_successor(successor).await;
        code
    }

    /// SIGTERM twice to whatever runs jobs: it ends without waiting for anything.
    pub async fn leave_at_once(&self) {
        let name = self.runner();
        let what = format!("{name} ends at once");
        self.with(&name, |process| process.signal(Signal::SIGTERM));
        eventually(&what, AT_ONCE, async || {
            // The second one counts once the first one was taken in.
            self.with(&name, |process| {
                process.signal(Signal::SIGTERM);
                process.has_ended()
            })
        })
        .await;
    }

    /// Starts what takes the place of the process that ran jobs and has ended.
    pub async fn replace_runner(&self) {
        let successor = (self.mode() == Mode::Services).then(|| self.start_worker());
        self.after_successor(successor).await;
    }

    /// Stops whatever runs jobs in its tracks, until another one has taken its jobs or, without another one, until its
    /// lease is over; then lets it go on.
    pub async fn freeze_past_lease(&self) {
        let name = self.runner();
        self.before_successor().await;
        self.with(&name, |process| process.signal(Signal::SIGSTOP));
        let plan = self.plan();
        // Only time ends a lease.
        let lease = Duration::from_secs(plan.lease_seconds + plan.grace_seconds + 1);
        tokio::time::sleep(lease).await;
        self.with(&name, |process| process.signal(Signal::SIGCONT));
    }

    /// How many processes run jobs.
    pub fn runners(&self) -> usize {
        let processes = self.processes();
        processes
            .iter()
            .filter(|process| process.name != "producer")
            .count()
    }

    /// The name of the first process that runs jobs.
    pub(super) fn runner(&self) -> String {
        let processes = self.processes();
        let runner = processes.iter().find(|process| process.name != "producer");
        runner.expect("something runs jobs").name.clone()
    }

    async fn before_successor(&self) -> Option<String> {
        if self.mode() == Mode::Embedded {
            return None;
        }
        let before = self.runners();
        let name = self.start_worker();
        self.workers_are(before + 1).await;
        Some(name)
    }

    async fn after_successor(&self, successor: Option<String>) {
        let gone = self.runner();
        self.processes().retain(|process| process.name != gone);
        if successor.is_none() {
            self.serve_dev().await;
        }
    }

    fn start(&self, name: &str, command: Command) {
        let log = self.installation.folder.path().join("logs").join(name);
        let process = Process::start(name, command, &log);
        self.processes().push(process);
    }

    pub(super) fn processes(&self) -> MutexGuard<'_, Vec<Process>> {
        let processes = self.installation.processes.lock();
        processes.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<T>(&self, name: &str, act: impl FnOnce(&mut Process) -> T) -> T {
        let mut processes = self.processes();
        let process = processes.iter_mut().find(|process| process.name == name);
        act(process.unwrap_or_else(|| panic!("there is no process {name}")))
    }

    fn set_admin_key(&self, key: &str) {
        assert!(
            key.starts_with("orc_") && !key.contains(char::is_whitespace),
            "no key: {key}"
        );
        let mut admin = self
            .installation
            .admin_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        key.clone_into(&mut admin);
    }
}

fn free_port() -> u32 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port().into()
}
