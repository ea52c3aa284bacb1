//! One installation for one story: a database, a namespace, two producers, three workers, a load, and the audit of all
//! that is left when it is over.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use reqwest::Url;
use tempfile::TempDir;
use tokio::time::Instant;

use super::binary::binary;
use super::load::Load;
use super::marks;
use super::member::{Member, Role};
use super::watcher::Watcher;
use super::{Api, Servers, Site};
use crate::audit::{AT_EVERY_START, Audit, Database, What};

pub const LEASE: Duration = Duration::from_secs(3);
pub const GRACE: Duration = Duration::from_secs(1);
/// Shorter than a long run, so that a drain hands some back.
const DRAIN: Duration = Duration::from_secs(2);
/// A freeze or a partition of this length ends a lease, and others take its jobs.
pub const PAST_LEASE: Duration = Duration::from_secs(6);
const PRODUCERS: usize = 2;
const WORKERS: usize = 3;
/// Jobs at once, in each worker.
const CONCURRENCY: u32 = 16;
/// From the end of the faults to the end of the last job. The longest waits in it are those for a dead worker's lease and
/// then for a wake-up that was counted and never sent: ten seconds of silence, and the reconciler's turn. Leases are so
/// short here that a machine which stands still for seconds ends them all; then it begins anew.
const ENDS_WITHIN: Duration = Duration::from_mins(4);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Of each log, when a story failed.
const LOG_LINES_SHOWN: usize = 60;

pub struct Stand {
    // Dropped in this order: processes before what they use.
    members: Vec<Member>,
    watcher: Watcher,
    pub servers: Arc<Servers>,
    pub name: String,
    database: Url,
    admin_key: String,
    pub seed: u64,
    began: Instant,
    folder: TempDir,
    _site: Site,
}

impl Stand {
    /// Everything is up, and everybody is ready.
    pub async fn start(site: Site, story: &str) -> Self {
        let began = Instant::now();
        let seed = number("FAULTS_SEED").unwrap_or_else(|| fastrand::u64(..));
        let name = format!("{story}_{:08x}", fastrand::u32(..));
        let folder = TempDir::with_prefix("orchestrator-fault-").expect("a temporary folder");
        for part in ["work", "logs"] {
            std::fs::create_dir(folder.path().join(part)).expect("a folder");
        }
        let servers = Arc::clone(&site.servers);
        let database = Database::create(&servers.postgres, &name).await;
        let mut stand = Self {
            members: Vec::new(),
            watcher: Watcher::start(database.clone()),
            servers,
            name,
            database,
            admin_key: String::new(),
            seed,
            began,
            folder,
            _site: site,
        };
        stand.operate(&["migrate"]);
        Database::open(&stand.database)
            .await
            .run(AT_EVERY_START)
            .await;
        let key = stand.operate(&["key", "create", "--tenant", "default", "--role", "admin"]);
        key.trim().clone_into(&mut stand.admin_key);
        let logs = stand.folder.path().join("logs");
        let producers =
            (1..=PRODUCERS).map(|number| (format!("producer-{number}"), Role::Producer));
        let workers = (1..=WORKERS).map(|number| (format!("worker-{number}"), Role::Worker));
        for (name, role) in producers.chain(workers) {
            let member = Member::new(name, role, &stand.servers, &logs).await;
            stand.members.push(member);
        }
        join_all(stand.members.iter().map(|member| stand.bring(member))).await;
        stand
    }

    /// Starts the process of a member, anew after its end.
    pub async fn bring(&self, member: &Member) {
        member.start(|| self.command(member)).await;
    }

    fn command(&self, member: &Member) -> Command {
        let mut command = self.program();
        match member.role {
            Role::Producer => command.arg("producer"),
            Role::Worker => command
                .args(["worker", "--agents", "echo,command"])
                .args(["--concurrency", &CONCURRENCY.to_string()])
                .arg("--roots")
                .arg(self.work()),
        };
        let [postgres, rabbitmq, redis] = member.wires();
        command
            .args(["--metrics-port", "0"])
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .env("DATABASE_URL", postgres.url(&self.database).as_str())
            .env("AMQP_URL", rabbitmq.url(&self.servers.rabbitmq).as_str())
            .env("REDIS_URL", redis.url(&self.servers.redis).as_str())
            .env("ORCHESTRATOR_NAMESPACE", &self.name)
            .env("ORCHESTRATOR_LEASE_SECONDS", LEASE.as_secs().to_string())
            .env("ORCHESTRATOR_GRACE_SECONDS", GRACE.as_secs().to_string())
            .env("ORCHESTRATOR_DRAIN_SECONDS", DRAIN.as_secs().to_string())
            // Sessions leave marks for the audit outside of their worktrees.
            .env("ORCHESTRATOR_ISOLATION", "none");
        command
    }

    /// In an environment that says nothing about any installation.
    fn program(&self) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.folder.path());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("ORCHESTRATOR_") || text.ends_with("_URL") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Runs a command of the operator's to its end, and returns what it printed.
    fn operate(&self, arguments: &[&str]) -> String {
        let mut command = self.program();
        command
            .args(arguments)
            .env("DATABASE_URL", self.database.as_str());
        let output = command.output().expect("the program can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "orchestrator {arguments:?}: {said}"
        );
        String::from_utf8(output.stdout).expect("text")
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn workers(&self) -> Vec<&Member> {
        self.in_role(Role::Worker)
    }

    pub fn producers(&self) -> Vec<&Member> {
        self.in_role(Role::Producer)
    }

    fn in_role(&self, role: Role) -> Vec<&Member> {
        self.members
            .iter()
            .filter(|member| member.role == role)
            .collect()
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn marks(&self) -> PathBuf {
        self.work().join("marks")
    }

    /// The first producer's, for a system admin.
    pub fn api(&self) -> Api {
        Api::new(&self.producers()[0].url(), Some(&self.admin_key))
    }

    pub async fn database(&self) -> Database {
        Database::open(&self.database).await
    }

    /// Submissions begin, and go on until [`Stand::finish`].
    pub async fn load(&self) -> Load {
        let apis: Vec<Api> = self
            .producers()
            .iter()
            .map(|producer| Api::new(&producer.url(), Some(&self.admin_key)))
            .collect();
        Load::begin(&apis, self.marks(), self.seed).await
    }

    /// Waits until so many more jobs have ended: work goes on.
    pub async fn work_goes_on(&self, more: i64) {
        let database = self.database().await;
        let goal = database.ended().await + more;
        let began = Instant::now();
        loop {
            let ended = database.ended().await;
            if ended >= goal {
                return;
            }
            let waited = began.elapsed();
            assert!(
                waited < ENDS_WITHIN,
                "work stands still: {ended} of {goal} have ended"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The faults are over: everything must end, and all of it as it should.
    pub async fn finish(mut self, load: Load) {
        let faults = self.began.elapsed();
        let book = load.end().await;
        let acknowledged = book.acknowledged();
        let database = self.database().await;
        let began = Instant::now();
        while !database.is_quiet(WORKERS).await && began.elapsed() < ENDS_WITHIN {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let settled = began.elapsed();
        let what = What {
            acknowledged: &acknowledged,
            marks: &marks::read(&self.marks()),
            workers: Some(WORKERS),
        };
        let audit = Audit::run(&database, &what).await;
        let (looks, seen) = self.watcher.stop().await;
        let died: Vec<String> = self.members.iter().filter_map(Member::has_died).collect();
        let unknown = book.unknown.load(std::sync::atomic::Ordering::SeqCst);
        eprintln!(
            "{}: seed {}; {} acknowledged, {unknown} submissions without an answer; faults {faults:.1?}, then \
             settled in {settled:.1?}; {looks} looks while it went on",
            self.name,
            self.seed,
            acknowledged.len(),
        );
        eprintln!("{}", audit.table());
        assert!(looks > 0, "nobody looked while it went on");
        assert!(!acknowledged.is_empty(), "nothing was acknowledged");
        let findings = audit.findings();
        assert!(
            findings.is_empty() && seen.is_empty() && died.is_empty(),
            "{}: seed {}\n{}{}{}",
            self.name,
            self.seed,
            findings,
            seen.join("\n"),
            died.join("\n")
        );
        drop(database);
        self.members.clear();
        Database::remove(&self.servers.postgres, &self.name).await;
    }

    fn show_logs(&self) {
        eprintln!("--- {}: seed {}", self.name, self.seed);
        for member in &self.members {
            let log = member.log();
            let lines: Vec<&str> = log.lines().collect();
            let hidden = lines.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!("--- {} ({hidden} lines before these)", member.name);
            for line in &lines[hidden..] {
                eprintln!("{line}");
            }
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}

/// A number that this run was given.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var_os(variable)?.into_string().ok();
    let number = text.and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{variable} is no number")))
}
