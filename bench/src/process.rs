//! The product's program, and one process of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that was told to leave has given its jobs back by then; after that it is killed.
const LEAVE_LIMIT: Duration = Duration::from_secs(20);
const LEAVE_POLL: Duration = Duration::from_millis(50);
const HOW_TO_BUILD: &str = "build it with `cargo build --release -p orchestrator`, or name another one in ORCHESTRATOR_BIN";

/// Where the program is: `ORCHESTRATOR_BIN`, or beside this one.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("ORCHESTRATOR_BIN") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("ORCHESTRATOR_BIN={} is no file", path.display());
        }
        return Ok(path);
    }
    let own = std::env::current_exe()?;
    let path = own.with_file_name("orchestrator");
    let built = std::fs::metadata(&path).and_then(|it| it.modified());
    let built = built.with_context(|| format!("{} is missing: {HOW_TO_BUILD}", path.display()))?;
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    if let Some((source, _)) = checkout
        .and_then(newest_source)
        .filter(|(_, at)| *at > built)
    {
        bail!(
            "{} is older than {}: {HOW_TO_BUILD}",
            path.display(),
            source.display()
        );
    }
    Ok(path)
}

/// The source of the product that was changed last; `None` where the checkout is gone.
fn newest_source(checkout: &Path) -> Option<(PathBuf, SystemTime)> {
    let mut open: Vec<PathBuf> = [
        "orchestrator",
        "producer",
        "workers",
        "shared",
        "migrations",
    ]
    .map(|folder| checkout.join(folder))
    .to_vec();
    let mut newest: Option<(PathBuf, SystemTime)> = None;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).ok()?.filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                // Tests are not part of the program.
                if !path.ends_with("tests") && !path.ends_with("testing") {
                    open.push(path);
                }
                continue;
            }
            let at = entry.metadata().and_then(|it| it.modified()).ok()?;
            if newest.as_ref().is_none_or(|(_, known)| at > *known) {
                newest = Some((path, at));
            }
        }
    }
    newest
}

/// A process of the program; it does not outlive this value.
pub struct Process {
    pub name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// What it says goes to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        const LINES: usize = 20;
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Lets it leave in order.
    pub async fn leave(mut self) {
        self.signal(Signal::SIGTERM);
        let mut waited = Duration::ZERO;
        while !self.has_ended() && waited < LEAVE_LIMIT {
            tokio::time::sleep(LEAVE_POLL).await;
            waited += LEAVE_POLL;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended already.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
