//! One process of an installation, with wires of its own to each server: it can be killed, frozen, told to leave and
//! started again, and its connections can be broken without those of the others.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::process::Process;
use super::{Api, PATIENCE, Server, Servers, Wire};

/// The drain and the winding up of runs.
const LEAVES_WITHIN: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Producer,
    Worker,
}

pub struct Member {
    pub name: String,
    pub role: Role,
    postgres: Wire,
    rabbitmq: Wire,
    redis: Wire,
    log: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    port: u16,
    /// It has served there, so its clients know the port.
    served: bool,
    process: Option<Process>,
    /// Dead ones: what they left must end by itself, so nothing of theirs is touched before the story is over.
    dead: Vec<Process>,
}

impl Member {
    pub async fn new(name: String, role: Role, servers: &Servers, logs: &Path) -> Self {
        Self {
            postgres: Wire::before(&servers.postgres).await,
            rabbitmq: Wire::before(&servers.rabbitmq).await,
            redis: Wire::before(&servers.redis).await,
            log: logs.join(&name),
            name,
            role,
            inner: Mutex::default(),
        }
    }

    pub fn wire(&self, server: Server) -> &Wire {
        match server {
            Server::Postgres => &self.postgres,
            Server::Rabbitmq => &self.rabbitmq,
            Server::Redis => &self.redis,
        }
    }

    pub fn wires(&self) -> [&Wire; 3] {
        Server::ALL.map(|server| self.wire(server))
    }

    /// Where a producer serves.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.inner().port)
    }

    /// Starts the process; `command` makes it without its port. Returns when it is ready to serve or to work. One that
    /// ends because what it needs is away is started again, as whoever looks after processes would.
    pub async fn start(&self, command: impl Fn() -> Command) {
        let began = Instant::now();
        let mut ready = false;
        while !ready {
            let mut command = command();
            if self.role == Role::Producer {
                let mut inner = self.inner();
                if inner.port == 0 {
                    inner.port = free_port();
                }
                command.args(["--port", &inner.port.to_string()]);
            }
            let lives = self.lives();
            let process = Process::start(&self.name, command, &self.log);
            self.inner().process = Some(process);
            ready = self.is_ready(lives, began).await;
        }
    }

    /// False when it ended.
    async fn is_ready(&self, lives: usize, began: Instant) -> bool {
        loop {
            let ready = match self.role {
                Role::Producer => Api::new(&self.url(), None).is_ready().await,
                Role::Worker => self.lives() > lives,
            };
            if ready {
                self.inner().served = true;
                return true;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{} is not ready: {}",
                self.name,
                self.log()
            );
            tokio::time::sleep(LOOK_EVERY).await;
            let mut inner = self.inner();
            if inner
                .process
                .as_mut()
                .is_some_and(|process| process.has_ended().is_some())
            {
                let ended = inner.process.take();
                inner.dead.extend(ended);
                if !inner.served {
                    // Another process may have taken the port between its choice and its use.
                    inner.port = 0;
                }
                return false;
            }
        }
    }

    /// How often a worker has registered.
    fn lives(&self) -> usize {
        self.log().matches("worker registered").count()
    }

    /// `kill -9` of the process alone.
    pub fn kill(&self) {
        let mut inner = self.inner();
        let mut process = inner.process.take().expect("the process runs");
        process.kill_alone();
        inner.dead.push(process);
    }

    pub fn freeze(&self) {
        self.with(|process| process.signal(Signal::SIGSTOP));
    }

    pub fn thaw(&self) {
        self.with(|process| process.signal(Signal::SIGCONT));
    }

    /// SIGTERM, and the end of the process, which must be an orderly one.
    pub async fn leave(&self) {
        self.with(|process| process.signal(Signal::SIGTERM));
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.with(Process::has_ended) {
                break status;
            }
            assert!(
                began.elapsed() < LEAVES_WITHIN,
                "{} does not leave: {}",
                self.name,
                self.log()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        };
        assert!(
            status.success(),
            "{} left with {status}: {}",
            self.name,
            self.log()
        );
        let mut inner = self.inner();
        let ended = inner.process.take();
        inner.dead.extend(ended);
    }

    /// How the process ended that nobody ended.
    pub fn has_died(&self) -> Option<String> {
        let mut inner = self.inner();
        let status = inner.process.as_mut()?.has_ended()?;
        Some(format!("{} ended by itself: {status}", self.name))
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Process) -> T) -> T {
        act(self.inner().process.as_mut().expect("the process runs"))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
