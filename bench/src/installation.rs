//! An installation of the product to be measured: a `dev` process, or a producer and workers on services, with a data
//! folder, a database and names of its own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use tempfile::TempDir;

use crate::cli::{Backend, Cli};
use crate::http::{Caller, Connection};
use crate::load::unix_micros;
use crate::process::Process;
use crate::services::Services;
use crate::store::Store;
use crate::usage::Watched;

/// For a start on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(1);
const START_POLL: Duration = Duration::from_millis(50);
/// What a process says that only warns; anything else would be measured too.
const LOG: &str = "warn,lapin::channel=off";
/// A worker that leaves hands unfinished jobs back after this.
const DRAIN_SECONDS: &str = "5";
pub struct Installation {
    pub port: u16,
    pub admin: Caller,
    backend: Backend,
    binary: PathBuf,
    workers: u32,
    concurrency: u32,
    /// Of each process that runs jobs, in the order of their start.
    worker_metrics: Vec<u16>,
    servers: Vec<Watched>,
    // Dropped in this order: processes before what they use.
    processes: Vec<Process>,
    services: Option<Services>,
    folder: TempDir,
}

impl Installation {
    /// With the API up and nobody who runs sessions.
    pub async fn start(cli: &Cli) -> anyhow::Result<Self> {
        let binary = crate::process::binary()?;
        let services = match cli.backend {
            Backend::Embedded => None,
            Backend::Services => Some(Services::create().await?),
        };
        // Beside the program rather than in a folder for temporary files, which may lie in memory.
        let place = binary.parent().context("the program lies in a folder")?;
        let folder = TempDir::with_prefix_in("bench-", place)?;
        let mut installation = Self {
            port: 0,
            admin: Caller {
                port: 0,
                key: String::new(),
                tenant: None,
            },
            backend: cli.backend,
            binary,
            workers: cli.workers,
            concurrency: cli.concurrency(),
            worker_metrics: Vec::new(),
            servers: Vec::new(),
            processes: Vec::new(),
            services,
            folder,
        };
        if let Err(error) = installation.start_api().await {
            installation.close().await;
            return Err(error);
        }
        Ok(installation)
    }

    async fn start_api(&mut self) -> anyhow::Result<()> {
        match &self.services {
            Some(services) => {
                self.servers = services.urls().watched().await?;
                self.operate(&["migrate"])?;
                let key =
                    self.operate(&["key", "create", "--tenant", "default", "--role", "admin"])?;
                key.trim().clone_into(&mut self.admin.key);
                self.serve("producer", &[]).await
            }
            None => self.serve_dev("training").await,
        }
    }

    /// `dev` has always a worker; for the time before workers it is one that takes no sessions.
    async fn serve_dev(&mut self, kinds: &str) -> anyhow::Result<()> {
        let concurrency = self.concurrency.to_string();
        let flags = [
            "--agents",
            "echo",
            "--kinds",
            kinds,
            "--concurrency",
            &concurrency,
        ];
        self.serve("dev", &flags).await?;
        let key = std::fs::read_to_string(self.data_dir().join("admin.key"))?;
        key.trim().clone_into(&mut self.admin.key);
        Ok(())
    }

    /// Starts a process with an API and waits until it is ready.
    async fn serve(&mut self, name: &str, flags: &[&str]) -> anyhow::Result<()> {
        let metrics = free_port()?;
        if self.port == 0 {
            self.port = free_port()?;
            self.admin.port = self.port;
        }
        let mut command = self.command()?;
        command.arg(name).args(flags);
        command.args(["--port", &self.port.to_string()]);
        self.spawn(name, command, metrics)?;
        if self.backend == Backend::Embedded {
            self.worker_metrics = vec![metrics];
        }
        let health = Caller {
            key: "none".to_owned(),
            ..self.admin.clone()
        };
        let ready = health.request("GET", "/health/ready", "");
        self.eventually(&format!("{name} is ready"), async || {
            let mut connection = Connection::open(health.port).await.ok()?;
            let answer = connection.send(&ready).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await
    }

    /// Starts whoever runs sessions and returns the instant before, in microseconds since 1970. Does not wait until they are up: what they do first
    /// is a part of what is measured.
    pub async fn start_workers(&mut self) -> anyhow::Result<u64> {
        if self.backend == Backend::Embedded {
            self.stop_workers().await;
            let begun = unix_micros();
            self.serve_dev("session,training").await?;
            return Ok(begun);
        }
        let begun = unix_micros();
        for number in 1..=self.workers {
            let metrics = free_port()?;
            let mut command = self.command()?;
            command.args(["worker", "--agents", "echo", "--concurrency"]);
            command.arg(self.concurrency.to_string());
            self.spawn(&format!("worker-{number}"), command, metrics)?;
            self.worker_metrics.push(metrics);
        }
        Ok(begun)
    }

    /// Waits until they are all registered.
    pub async fn workers_are_up(&mut self) -> anyhow::Result<()> {
        let wanted = match self.backend {
            Backend::Embedded => 1,
            Backend::Services => self.workers as usize,
        };
        let admin = self.admin.clone();
        self.eventually("the workers are up", async || {
            let list = admin.expect(200, "GET", "/api/v1/workers", "").await.ok()?;
            let items = list["items"].as_array()?;
            let able = items.iter().filter(|worker| {
                let kinds = worker["kinds"].as_array();
                worker["alive"] == true
                    && kinds.is_some_and(|kinds| kinds.contains(&json!("session")))
            });
            (able.count() == wanted).then_some(())
        })
        .await
    }

    /// Lets whoever runs jobs leave in order. In embedded mode nobody serves the API then.
    async fn stop_workers(&mut self) {
        let is_worker = |process: &Process| process.name != "producer";
        while let Some(at) = self.processes.iter().position(is_worker) {
            self.processes.remove(at).leave().await;
        }
        self.worker_metrics.clear();
    }

    /// As after [`Self::start`].
    pub async fn without_workers(&mut self) -> anyhow::Result<()> {
        self.stop_workers().await;
        match self.backend {
            Backend::Embedded => self.serve_dev("training").await,
            Backend::Services => Ok(()),
        }
    }

    fn spawn(&mut self, name: &str, mut command: Command, metrics: u16) -> anyhow::Result<()> {
        command.args(["--metrics-port", &metrics.to_string(), "--log", LOG]);
        command.arg("--data-dir").arg(self.data_dir());
        let log = self.folder.path().join(format!("{name}.log"));
        self.processes.push(Process::start(name, command, &log)?);
        Ok(())
    }

    /// The program in an environment that says nothing about any other installation.
    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.binary);
        command.current_dir(self.folder.path());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("ORCHESTRATOR_") || text.ends_with("_URL") {
                command.env_remove(&name);
            }
        }
        command.env("ORCHESTRATOR_DRAIN_SECONDS", DRAIN_SECONDS);
        if let Some(services) = &self.services {
            command.envs(services.variables()?);
        }
        Ok(command)
    }

    /// Runs a command of the operator's to its end.
    fn operate(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command()?.args(arguments).output()?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("orchestrator {} failed: {why}", arguments.join(" "));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn eventually(
        &mut self,
        what: &str,
        condition: impl AsyncFn() -> Option<()>,
    ) -> anyhow::Result<()> {
        let mut waited = Duration::ZERO;
        while condition().await.is_none() {
            if let Some(process) = self
                .processes
                .iter_mut()
                .find_map(|it| it.has_ended().then_some(it))
            {
                bail!("{} ended by itself: {}", process.name, process.last_words());
            }
            if waited > START_LIMIT {
                bail!("it did not come to pass in {START_LIMIT:?} that {what}");
            }
            tokio::time::sleep(START_POLL).await;
            waited += START_POLL;
        }
        Ok(())
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A view of the store; in embedded mode valid until `dev` starts anew.
    pub async fn store(&self) -> anyhow::Result<Store> {
        match &self.services {
            Some(services) => Store::postgres(&services.database_url()?).await,
            None => Ok(Store::sqlite(&self.data_dir().join("orchestrator.db"))),
        }
    }

    /// Everything whose CPU counts.
    pub fn watched(&self) -> Vec<Watched> {
        let ours = self.processes.iter().map(|process| Watched {
            name: process.name.clone(),
            pid: process.pid(),
        });
        ours.chain(self.servers.iter().cloned()).collect()
    }

    /// The first process that runs jobs.
    pub fn worker_pid(&self) -> anyhow::Result<u32> {
        let mut processes = self.processes.iter();
        let worker = processes.find(|process| process.name != "producer");
        Ok(worker.context("no worker was started")?.pid())
    }

    /// The value of a metric of the first process that runs jobs, without labels.
    pub async fn worker_metric(&self, name: &str) -> anyhow::Result<f64> {
        let port = *self
            .worker_metrics
            .first()
            .context("no worker was started")?;
        let caller = Caller {
            port,
            ..self.admin.clone()
        };
        let text = caller.ask("GET", "/metrics", "").await?.text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value
            .with_context(|| format!("no metric {name}"))?
            .trim()
            .parse()?)
    }

    /// Takes everything down. What could not be removed is told and left.
    pub async fn close(self) {
        let Self {
            processes,
            services,
            folder,
            ..
        } = self;
        futures::future::join_all(processes.into_iter().map(Process::leave)).await;
        if let Some(services) = services
            && let Err(error) = services.remove().await
        {
            crate::report::note(&format!("not all was removed: {error:#}"));
        }
        drop(folder);
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
