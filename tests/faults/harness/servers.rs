//! PostgreSQL, RabbitMQ and Redis for this program alone: it kills them. Started once, by `scripts/services` in a folder
//! of their own, and taken down when the last story is over or this process is gone, however it went.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};

use reqwest::Url;
use tempfile::TempDir;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::binary::checkout;

/// Waits for the end of its input, which comes with the end of whoever holds the other side.
const TAKE_DOWN: &str = r#"cat >/dev/null
scripts/services down >/dev/null 2>&1
rm -rf "$ORCHESTRATOR_SERVICES_DIR""#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Postgres,
    Rabbitmq,
    Redis,
}

impl Server {
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Rabbitmq, Self::Redis];

    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Rabbitmq => "rabbitmq",
            Self::Redis => "redis",
        }
    }
}

pub struct Servers {
    folder: PathBuf,
    pub postgres: Url,
    pub rabbitmq: Url,
    pub management: Url,
    pub redis: Url,
    end: Child,
}

impl Servers {
    async fn start() -> Self {
        let folder = TempDir::with_prefix("orchestrator-faults-")
            .expect("a temporary folder")
            .keep();
        let end = Command::new("/bin/sh")
            .args(["-c", TAKE_DOWN])
            .current_dir(checkout())
            .env("ORCHESTRATOR_SERVICES_DIR", &folder)
            .envs(not_given())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("/bin/sh can be started");
        services(&folder, &["up", "--only", &names()]).await;
        let said = services(&folder, &["env", "--only", &names()]).await;
        let url = |wanted: &str| {
            let value = said.lines().find_map(|line| {
                let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
                (name == wanted).then(|| value.replace('\\', ""))
            });
            let value = value.unwrap_or_else(|| panic!("no {wanted} in: {said}"));
            Url::parse(&value).expect("a URL")
        };
        Self {
            postgres: url("DATABASE_URL"),
            rabbitmq: url("AMQP_URL"),
            management: url("RABBITMQ_MANAGEMENT_URL"),
            redis: url("REDIS_URL"),
            folder,
            end,
        }
    }

    /// SIGKILL to all of its processes.
    pub async fn kill(&self, server: Server) {
        self.services(&["kill", server.name()]).await;
    }

    /// PostgreSQL's immediate stop: every connection is told, nothing is finished.
    pub async fn quit(&self, server: Server) {
        self.services(&["quit", server.name()]).await;
    }

    /// Started again after its data are gone.
    pub async fn wipe(&self, server: Server) {
        self.services(&["wipe", server.name()]).await;
    }

    pub async fn up(&self, server: Server) {
        self.services(&["up", "--only", server.name()]).await;
    }

    /// Forgets everything, and stays up.
    pub async fn flush_redis(&self) {
        let client = redis::Client::open(self.redis.as_str()).expect("a URL of Redis");
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("Redis answers");
        redis::cmd("FLUSHALL")
            .exec_async(&mut connection)
            .await
            .expect("Redis forgets");
    }

    async fn services(&self, arguments: &[&str]) {
        services(&self.folder, arguments).await;
    }
}

async fn services(folder: &Path, arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(checkout().join("scripts/services"));
    command
        .args(arguments)
        .current_dir(checkout())
        .env("ORCHESTRATOR_SERVICES_DIR", folder)
        .envs(not_given())
        .stdin(Stdio::null());
    let output = command.output().await;
    let output = output.expect("scripts/services can be started");
    assert!(
        output.status.success(),
        "scripts/services {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.end.stdin.take());
        let _ = self.end.wait();
    }
}

fn names() -> String {
    Server::ALL.map(Server::name).join(",")
}

/// `scripts/services` starts nothing that a URL was given for.
fn not_given() -> [(&'static str, &'static str); 5] {
    [
        "DATABASE_URL",
        "AMQP_URL",
        "REDIS_URL",
        "PROMETHEUS_URL",
        "RABBITMQ_MANAGEMENT_URL",
    ]
    .map(|name| (name, ""))
}

/// A story's hold on the servers: beside others while it breaks only what is its own, alone when it breaks servers.
pub struct Site {
    pub servers: Arc<Servers>,
    turn: Turn,
}

enum Turn {
    Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

static TURN: RwLock<()> = RwLock::const_new(());

impl Site {
    pub async fn shared() -> Self {
        let servers = servers().await;
        let turn = Turn::Shared(TURN.read().await);
        Self { servers, turn }
    }

    pub async fn alone() -> Self {
        let servers = servers().await;
        let turn = Turn::Alone(TURN.write().await);
        Self { servers, turn }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A story that failed in the middle leaves them to the next one as it found them.
        if std::thread::panicking() && matches!(self.turn, Turn::Alone(_)) {
            let _ = Command::new(checkout().join("scripts/services"))
                .args(["up", "--only", &names()])
                .current_dir(checkout())
                .env("ORCHESTRATOR_SERVICES_DIR", &self.servers.folder)
                .envs(not_given())
                .status();
        }
    }
}

/// The last who holds them takes them down. Whoever waits for a turn holds them as well.
async fn servers() -> Arc<Servers> {
    static SERVERS: Mutex<Weak<Servers>> = Mutex::const_new(Weak::new());
    let mut shared = SERVERS.lock().await;
    if let Some(servers) = shared.upgrade() {
        return servers;
    }
    let servers = Arc::new(Servers::start().await);
    *shared = Arc::downgrade(&servers);
    servers
}
