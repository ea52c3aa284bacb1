//! A whole installation of the program for stories to play on: one `dev` process, or a producer and workers with
//! services of their own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use application::testing::service_url;
use tempfile::TempDir;

use super::process::Process;
use super::services::Services;
use super::{Api, Quota, Repo, Tenant};

/// Of each log, when a story failed.
const LOG_LINES_SHOWN: usize = 150;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Embedded,
    Services,
}

impl Mode {
    /// False for services in a run for the embedded mode only; services that are wanted and missing are a failure.
    pub fn is_wanted(self) -> bool {
        self == Self::Embedded || service_url("DATABASE_URL").is_some()
    }
}

/// How an installation is set up.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Worker processes; `dev` is its own one.
    pub workers: usize,
    /// Jobs at once, in each.
    pub concurrency: u32,
    pub lease_seconds: u64,
    pub grace_seconds: u64,
    pub drain_seconds: u64,
    pub agents: &'static str,
    /// Told to every process of the installation.
    pub variables: Vec<(String, String)>,
    /// The text of its `orchestrator.toml`.
    pub config: String,
}

impl Default for Plan {
    /// Patient, so that a busy machine never looks like a dead worker.
    fn default() -> Self {
        Self {
            workers: 2,
            concurrency: 16,
            lease_seconds: 30,
            grace_seconds: 15,
            drain_seconds: 5,
            agents: "echo,command",
            variables: Vec::new(),
            config: String::new(),
        }
    }
}

impl Plan {
    /// A crash is noticed within seconds.
    pub fn noticing_crashes() -> Self {
        Self {
            workers: 1,
            lease_seconds: 4,
            grace_seconds: 1,
            ..Self::default()
        }
    }
}

/// A story's hold on an installation; the last one takes it down. Shows its logs when the story fails.
pub struct Stand {
    pub(super) installation: Arc<Installation>,
    /// How long the logs were when the story came.
    seen: Vec<(PathBuf, usize)>,
}

// Dropped in this order: processes before what they use.
pub(super) struct Installation {
    pub(super) processes: Mutex<Vec<Process>>,
    pub(super) services: Option<Services>,
    pub(super) mode: Mode,
    pub(super) plan: Plan,
    pub(super) port: AtomicU32,
    pub(super) started_workers: AtomicU32,
    pub(super) admin_key: Mutex<String>,
    /// Of the processes that are started from now on.
    pub(super) labels: Mutex<String>,
    pub(super) folder: TempDir,
}

impl Stand {
    /// The installation that stories share that only use it, with a tenant each.
    pub async fn shared(mode: Mode) -> Self {
        static SHARED: [tokio::sync::Mutex<Weak<Installation>>; 2] = [
            tokio::sync::Mutex::const_new(Weak::new()),
            tokio::sync::Mutex::const_new(Weak::new()),
        ];
        let mut shared = SHARED[mode as usize].lock().await;
        if let Some(installation) = shared.upgrade() {
            return Self::of(installation);
        }
        let stand = Self::own(mode, Plan::default()).await;
        *shared = Arc::downgrade(&stand.installation);
        stand
    }

    /// An installation for one story, that may be broken.
    pub async fn own(mode: Mode, plan: Plan) -> Self {
        let services = match mode {
            Mode::Embedded => None,
            Mode::Services => Some(Services::create().await),
        };
        let folder = TempDir::with_prefix("orchestrator-story-").expect("a temporary folder");
        for part in ["work", "logs"] {
            std::fs::create_dir(folder.path().join(part)).expect("a folder");
        }
        let config = folder.path().join("orchestrator.toml");
        std::fs::write(config, &plan.config).expect("a configuration");
        let stand = Self::of(Arc::new(Installation {
            processes: Mutex::default(),
            services,
            mode,
            plan,
            port: AtomicU32::new(0),
            started_workers: AtomicU32::new(0),
            admin_key: Mutex::default(),
            labels: Mutex::default(),
            folder,
        }));
        match mode {
            Mode::Embedded => stand.start_dev().await,
            Mode::Services => stand.start_services().await,
        }
        stand
    }

    fn of(installation: Arc<Installation>) -> Self {
        let mut stand = Self {
            installation,
            seen: Vec::new(),
        };
        stand.seen = stand
            .logs()
            .into_iter()
            .map(|(path, text)| (path, text.len()))
            .collect();
        stand
    }

    pub fn mode(&self) -> Mode {
        self.installation.mode
    }

    pub fn plan(&self) -> &Plan {
        &self.installation.plan
    }

    pub fn url(&self) -> String {
        format!(
            "http://127.0.0.1:{}",
            self.installation.port.load(Ordering::SeqCst)
        )
    }

    pub fn admin_key(&self) -> String {
        let key = self.installation.admin_key.lock();
        key.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The whole system's administrator.
    pub fn admin(&self) -> Api {
        Api::new(&self.url(), Some(&self.admin_key()))
    }

    pub async fn tenant(&self) -> Tenant {
        self.tenant_with(Quota::default()).await
    }

    pub async fn tenant_with(&self, quota: Quota) -> Tenant {
        Tenant::create(&self.admin(), quota).await
    }

    pub fn repo(&self) -> Repo {
        Repo::new(&self.work())
    }

    /// The one folder below which repositories and datasets may lie. Stories leave their marks here too.
    pub fn work(&self) -> PathBuf {
        self.installation.folder.path().join("work")
    }

    /// A new folder in [`Stand::work`].
    pub fn scratch(&self) -> PathBuf {
        let folder = TempDir::with_prefix_in("scratch-", self.work()).expect("a folder");
        folder.keep()
    }

    /// The passwords that this installation was told; none in embedded mode.
    pub fn passwords(&self) -> Vec<String> {
        let services = self.installation.services.as_ref();
        services.map_or_else(Vec::new, Services::passwords)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.installation.folder.path().join("data")
    }

    /// What all processes have logged so far.
    pub fn logs(&self) -> Vec<(PathBuf, String)> {
        let folder = self.installation.folder.path().join("logs");
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Vec::new();
        };
        entries
            .filter_map(Result::ok)
            .map(|entry| {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                (entry.path(), String::from_utf8_lossy(&bytes).into_owned())
            })
            .collect()
    }

    fn show_logs(&self) {
        for (path, text) in self.logs() {
            let seen = self.seen.iter().find(|(known, _)| *known == path);
            let since = text
                .get(seen.map_or(0, |(_, length)| *length)..)
                .unwrap_or(&text);
            let lines: Vec<&str> = since.lines().collect();
            let hidden = lines.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!("--- {} ({hidden} lines before these)", path.display());
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
