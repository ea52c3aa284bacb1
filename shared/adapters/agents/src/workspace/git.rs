//! Runs git without anything of the user's or the machine's configuration, hooks, or helpers: git is to do what is
//! asked here, not what a repository asks for.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use application::ports::HandlerError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use crate::failure::{DISK_FULL_WORDS, disk_full, fail, is_full, retry};

/// Processes of git at once; more would only wait for the same disk.
const PARALLEL: usize = 8;
/// Of those that look into trees of runs, which can keep them at work for as long as they may take.
const LOOKS: usize = 4;
/// What a process may take that looks into a tree, in KiB: a run can make git read without end.
const LOOK_KIB: u32 = 2 * 1024 * 1024;
/// A fetch or checkout that takes longer is given up.
pub(super) const PATIENCE: Duration = Duration::from_mins(10);
/// For git to put its lock files away.
const TERM_GRACE: Duration = Duration::from_secs(5);
const ERROR_BYTES: u64 = 16 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;
/// Of many complaints, the first ones say what is wrong.
const ERROR_LINES: usize = 5;

pub(super) struct Git {
    path: OsString,
    slots: Semaphore,
    memory_kib: Option<u32>,
}

/// What a command of git said.
pub(super) struct Said {
    pub success: bool,
    pub stdout: Vec<u8>,
    /// True when more came than was asked for; what is there is cut then.
    pub is_cut: bool,
    pub stderr: String,
}

impl Git {
    pub(super) fn new(path: &OsStr) -> Self {
        Self {
            path: path.to_owned(),
            slots: Semaphore::new(PARALLEL),
            memory_kib: None,
        }
    }

    /// For the trees of runs: in slots of its own, so that a run which keeps git at work keeps no checkout waiting.
    pub(super) fn for_trees(path: &OsStr) -> Self {
        Self {
            slots: Semaphore::new(LOOKS),
            memory_kib: Some(LOOK_KIB),
            ..Self::new(path)
        }
    }

    /// A command with the settings that all have in common; the caller adds its own.
    pub(super) fn command(&self) -> Command {
        let mut command = self.program();
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("LC_ALL", "C")
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1");
        for setting in [
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.quotePath=false",
            "gc.auto=0",
            "maintenance.auto=false",
            "protocol.version=2",
            "advice.detachedHead=false",
            // A worker may read repositories of others; which ones, the roots decide.
            "safe.directory=*",
        ] {
            command.args(["-c", setting]);
        }
        command
    }

    fn program(&self) -> Command {
        let Some(memory_kib) = self.memory_kib else {
            return Command::new("git");
        };
        let mut command = Command::new("/bin/sh");
        let line = format!("ulimit -d {memory_kib} && exec git \"$@\"");
        command.args(["-c", &line, "git"]);
        command
    }

    /// Runs it to its end. `what` names the deed for errors, as in "fetch from /repo"; it writes at `place`.
    pub(super) async fn run(
        &self,
        command: Command,
        what: &str,
        place: &Path,
    ) -> Result<(), HandlerError> {
        let said = self.ask(command, what, ERROR_BYTES).await?;
        if said.success {
            return Ok(());
        }
        Err(failed(what, &said.stderr, place))
    }

    /// Runs it to its end, or until it has said more than `limit` bytes.
    pub(super) async fn ask(
        &self,
        command: Command,
        what: &str,
        limit: u64,
    ) -> Result<Said, HandlerError> {
        let mut stdout = Vec::new();
        let mut take = |chunk: &[u8]| {
            stdout.extend_from_slice(chunk);
            stdout.len() as u64 <= limit
        };
        let said = self.tell(command, what, &mut take).await?;
        Ok(Said { stdout, ..said })
    }

    /// Runs it to its end, or until `take` wants no more of what it prints. The answer's `stdout` is empty.
    pub(super) async fn tell(
        &self,
        mut command: Command,
        what: &str,
        take: &mut (dyn FnMut(&[u8]) -> bool + Send),
    ) -> Result<Said, HandlerError> {
        let _slot = self.slots.acquire().await;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| not_started(&error))?;
        let finished = tokio::time::timeout(PATIENCE, read(&mut child, take)).await;
        if let Ok(said) = finished {
            return said
                .map_err(|error| retry("GIT_FAILED", format!("git could not {what}: {error}")));
        }
        end(&mut child).await;
        Err(retry(
            "GIT_TIMEOUT",
            format!(
                "git did not {what} within {} minutes and was ended",
                PATIENCE.as_secs() / 60
            ),
        ))
    }
}

async fn read(child: &mut Child, take: &mut (dyn FnMut(&[u8]) -> bool + Send)) -> io::Result<Said> {
    let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut err = Vec::new();
    // The pipe closes when enough was read: git ends then, instead of waiting for us.
    let printing = async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let length = stdout.read(&mut chunk).await?;
            if length == 0 {
                return io::Result::Ok(false);
            }
            if !take(&chunk[..length]) {
                return Ok(true);
            }
        }
    };
    let complaining = async {
        let mut limited = stderr.take(ERROR_BYTES);
        limited.read_to_end(&mut err).await?;
        tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await
    };
    let (printed, complained) = tokio::join!(printing, complaining);
    let is_cut = printed?;
    complained?;
    let status = child.wait().await?;
    Ok(Said {
        success: status.success(),
        stdout: Vec::new(),
        is_cut,
        stderr: String::from_utf8_lossy(&err).trim().to_owned(),
    })
}

/// Ends git so that it puts its lock files away.
async fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(TERM_GRACE, child.wait())
        .await
        .is_err()
    {
        let _ = child.kill().await;
    }
}

fn not_started(error: &io::Error) -> HandlerError {
    if error.kind() == io::ErrorKind::NotFound {
        return fail(
            "GIT_MISSING",
            "git was not found on the worker; install it there",
        );
    }
    retry("GIT_FAILED", format!("git could not be started: {error}"))
}

/// The failure of a command that ought to work, and that writes at `place`.
pub(super) fn failed(what: &str, stderr: &str, place: &Path) -> HandlerError {
    if stderr.contains(DISK_FULL_WORDS) || is_full(place) {
        return disk_full(&format!("git could not {what}"));
    }
    let lines: Vec<&str> = stderr.lines().take(ERROR_LINES).collect();
    let reason = lines.join("\n").replace('\0', "");
    retry("GIT_FAILED", format!("git could not {what}: {reason}"))
}

/// Output that is one line of text.
pub(super) fn line(stdout: &[u8]) -> String {
    String::from_utf8_lossy(stdout).trim().to_owned()
}

/// `--git-dir=<path>`
pub(super) fn git_dir(path: &Path) -> OsString {
    let mut option = OsString::from("--git-dir=");
    option.push(path);
    option
}
