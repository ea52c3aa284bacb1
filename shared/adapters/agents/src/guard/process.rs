//! The worker's end of a guard.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use domain::JobId;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::MissedTickBehavior;

use super::behind::LeftBehind;
use super::protocol::{Exit, NO_NUMBER, Order, Report, STAGE_ENTER, STAGE_SUPERVISE};
use super::{GuardCommand, strays};
use crate::isolation::{
    Confined, Group, LimitHit, Prepared, WORKER_VARIABLE, Watch, of_this_process,
};

/// A report is far shorter; more is not from a guard.
const REPORT_BYTES: u64 = 4096;
/// Times that a worker speaks within a guard's patience: some may be late on a busy machine.
const WORDS: u32 = 4;
/// A guard cannot have less, and no worker could keep a lease as short.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
/// A guard that could not be has said why before it ended.
const WORDS_PATIENCE: Duration = Duration::from_secs(1);
/// How long a guard may take to say that the program started. Long, since a busy machine is slow to execute.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// Which run a process belongs to; every process of a run has it in its environment.
#[derive(Debug, Clone, Copy)]
pub struct RunMark {
    pub job: JobId,
    pub attempt: u32,
}

impl RunMark {
    pub fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("ORCHESTRATOR_JOB_ID", self.job.to_string()),
            ("ORCHESTRATOR_ATTEMPT", self.attempt.to_string()),
        ]
    }
}

/// What to start. The environment is exactly `variables` and the mark's.
#[derive(Debug)]
pub struct Launch {
    pub argv: Vec<OsString>,
    pub directory: PathBuf,
    pub variables: Vec<(OsString, OsString)>,
    pub mark: RunMark,
    /// What the program may touch, where the worker can see to it; `None` for one that is the operator's own.
    pub confined: Option<Confined>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program could not be executed, for the reason given.
    #[error("{0}")]
    Refused(io::Error),
    /// The guard could not be started or did not answer.
    #[error("the guard could not be started: {0}")]
    Guard(io::Error),
}

/// The run did not come to an end of its own. All that could be found of it has been killed.
#[derive(Debug, thiserror::Error)]
pub enum RunLost {
    /// The guard died before the program did.
    #[error("the guard of the run was killed")]
    Guard,
    /// The guard did not hear of this worker, which must have been frozen.
    #[error("the worker was frozen for so long that its lease may have ended")]
    Worker,
}

/// A running program: what it prints, a handle to end it, and the guard to wait for.
///
/// Dropping the guard and every [`Control`] ends the program and all that it started within moments.
pub struct Started {
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
    pub control: Control,
    pub guard: Guard,
}

/// Sends orders to the guard; clones share one socket.
#[derive(Clone)]
pub struct Control {
    socket: Arc<OwnedWriteHalf>,
    patience: Duration,
}

impl Control {
    /// Asks the program's group to end.
    pub fn terminate(&self) {
        self.order(Order::Terminate);
    }

    /// Ends all at once.
    pub fn kill(&self) {
        self.order(Order::Kill);
    }

    /// Says to the guard that the worker is there, for as long as this is polled. A guard to which nobody says it kills
    /// the run.
    pub async fn keep_alive(self) -> Infallible {
        let mut ticks = tokio::time::interval(self.patience / WORDS);
        // What was missed cannot be said any more.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.order(Order::GoOn);
        }
    }

    fn order(&self, order: Order) {
        // A few bytes into a socket that the guard empties: they fit, or the guard is gone or frozen. A frozen one that
        // comes back finds the end of the socket behind what it was told before.
        let _ = self.socket.try_write(order.line().as_bytes());
    }
}

/// The worker's view of a guard, to wait for its end.
pub struct Guard {
    reports: BufReader<OwnedReadHalf>,
    child: Child,
    /// The program's process group, where its id is one of ours.
    leader: Option<Pid>,
    own_processes: bool,
    group: Option<Group>,
    watch: Watch,
    hit: Option<LimitHit>,
    behind: LeftBehind,
    mark: RunMark,
}

impl GuardCommand {
    /// Returns when the program runs.
    pub async fn start(&self, launch: Launch) -> Result<Started, StartError> {
        let prepared = match &launch.confined {
            Some(confined) => self.isolation.prepare(&launch.mark, confined),
            None => Ok(Prepared::default()),
        };
        let prepared = prepared.map_err(StartError::Guard)?;
        let (own, theirs) = std::os::unix::net::UnixStream::pair().map_err(StartError::Guard)?;
        own.set_nonblocking(true).map_err(StartError::Guard)?;
        let own = UnixStream::from_std(own).map_err(StartError::Guard)?;
        let mut child = self
            .spawn(&launch, &prepared, theirs.into())
            .map_err(spawn_error)?;
        let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(StartError::Guard(io::ErrorKind::BrokenPipe.into()));
        };
        let (read, write) = own.into_split();
        let mut guard = Guard {
            reports: BufReader::new(read),
            child,
            leader: None,
            own_processes: prepared.own_processes,
            group: prepared.group,
            watch: prepared.watch,
            hit: None,
            behind: LeftBehind::default(),
            mark: launch.mark,
        };
        match tokio::time::timeout(START_PATIENCE, guard.report()).await {
            // A number of another process namespace means somebody else here.
            Ok(Some(Report::Started { .. })) if guard.own_processes => {}
            Ok(Some(Report::Started { pid })) => guard.leader = Some(Pid::from_raw(pid)),
            Ok(Some(Report::Refused { errno })) => {
                return Err(refusal(Errno::from_raw(errno)));
            }
            Ok(Some(Report::Ended { .. } | Report::Unheard { .. }) | None) => {
                return Err(StartError::Guard(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    last_words(&mut stderr).await,
                )));
            }
            Err(_) => return Err(StartError::Guard(io::ErrorKind::TimedOut.into())),
        }
        Ok(Started {
            stdout,
            stderr,
            control: Control {
                socket: Arc::new(write),
                patience: self.patience(),
            },
            guard,
        })
    }

    fn patience(&self) -> Duration {
        self.patience.max(LEAST_PATIENCE)
    }

    fn spawn(&self, launch: &Launch, prepared: &Prepared, control: OwnedFd) -> io::Result<Child> {
        let processes = prepared.processes.map(|number| number.to_string());
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        if !prepared.orders.is_empty() {
            command.arg(STAGE_ENTER).args(&prepared.orders);
        }
        command
            .arg(STAGE_SUPERVISE)
            .arg(self.patience().as_millis().to_string())
            .arg(processes.as_deref().unwrap_or(NO_NUMBER))
            .args(&launch.argv)
            .current_dir(&launch.directory)
            .env_clear()
            .envs(launch.variables.iter().map(|(name, value)| (name, value)))
            .envs(launch.mark.variables())
            .env(WORKER_VARIABLE, of_this_process())
            .stdin(Stdio::from(control))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Away from the worker's own group, so that Ctrl-C on a terminal reaches the worker alone.
            .process_group(0)
            .spawn()
    }
}

/// Why there is no guard, as those said who were to become it.
async fn last_words(stderr: &mut ChildStderr) -> String {
    let mut words = Vec::new();
    let mut bounded = stderr.take(REPORT_BYTES);
    let reading = bounded.read_to_end(&mut words);
    let _ = tokio::time::timeout(WORDS_PATIENCE, reading).await;
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    if words.is_empty() {
        "it ended at once".to_owned()
    } else {
        words
    }
}

/// Too long an argument list is the program's own fault, although it is the guard that could not be given it.
fn spawn_error(error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::ArgumentListTooLong => StartError::Refused(error),
        _ => StartError::Guard(error),
    }
}

/// A machine that is out of processes, memory or files is not the program's fault.
fn refusal(errno: Errno) -> StartError {
    match errno {
        Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE => {
            StartError::Guard(errno.into())
        }
        _ => StartError::Refused(errno.into()),
    }
}

impl Guard {
    /// Waits until the program and all that it started have ended.
    pub async fn wait(&mut self) -> Result<Exit, RunLost> {
        let (end, left) = match self.report().await {
            Some(Report::Ended { exit, left, behind }) => {
                self.behind = behind;
                (Ok(exit), left)
            }
            Some(Report::Unheard { left }) => (Err(RunLost::Worker), left),
            _ => {
                self.kill_strays().await;
                return Err(RunLost::Guard);
            }
        };
        if left > 0 {
            tracing::error!(
                job = %self.mark.job,
                attempt = self.mark.attempt,
                left,
                "processes of a run hang in the kernel and could not be killed yet"
            );
        }
        // It has said its last word; where it had a namespace of its own, nothing of that is left after this.
        let _ = self.child.wait().await;
        self.close().await;
        end
    }

    /// What the run uses, to be looked at while it goes on.
    pub(crate) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// The limit that the run had gone beyond when it ended.
    pub(crate) fn hit(&self) -> Option<LimitHit> {
        self.hit
    }

    /// What the program had not ended when it ended by itself.
    pub(crate) fn left_behind(&self) -> LeftBehind {
        self.behind.clone()
    }

    /// A last look, and the end of the control group.
    async fn close(&mut self) {
        self.hit = self.watch.look().await;
        self.watch = Watch::default();
        if let Some(group) = self.group.take() {
            let _ = tokio::task::spawn_blocking(move || group.end()).await;
        }
    }

    /// The guard's next report; `None` when it is gone or says something else.
    async fn report(&mut self) -> Option<Report> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reports).take(REPORT_BYTES);
        bounded.read_until(b'\n', &mut line).await.ok()?;
        serde_json::from_slice(&line).ok()
    }

    async fn kill_strays(&mut self) {
        let _ = self.child.start_kill();
        let (leader, group, mark) = (self.leader, self.group.clone(), self.mark);
        self.hit = self.watch.look().await;
        let search = tokio::task::spawn_blocking(move || {
            if let Some(leader) = leader {
                let _ = killpg(leader, Signal::SIGKILL);
            }
            if let Some(group) = group {
                group.end();
            }
            strays::kill_marked(&mark);
        });
        let _ = search.await;
    }
}
