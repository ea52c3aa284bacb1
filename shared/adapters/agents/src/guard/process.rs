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

use super::protocol::{Exit, Order, Report, STAGE_SUPERVISE};
use super::{GuardCommand, strays};

/// A report is far shorter; more is not from a guard.
const REPORT_BYTES: u64 = 4096;
/// Times that a worker speaks within a guard's patience: some may be late on a busy machine.
const WORDS: u32 = 4;
/// A guard cannot have less, and no worker could keep a lease as short.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
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
    group: Option<Pid>,
    mark: RunMark,
}

impl GuardCommand {
    /// Returns when the program runs.
    pub async fn start(&self, launch: Launch) -> Result<Started, StartError> {
        let (own, theirs) = std::os::unix::net::UnixStream::pair().map_err(StartError::Guard)?;
        own.set_nonblocking(true).map_err(StartError::Guard)?;
        let own = UnixStream::from_std(own).map_err(StartError::Guard)?;
        let mut child = self.spawn(&launch, theirs.into()).map_err(spawn_error)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(StartError::Guard(io::ErrorKind::BrokenPipe.into()));
        };
        let (read, write) = own.into_split();
        let mut guard = Guard {
            reports: BufReader::new(read),
            child,
            group: None,
            mark: launch.mark,
        };
        match tokio::time::timeout(START_PATIENCE, guard.report()).await {
            Ok(Some(Report::Started { pid })) => guard.group = Some(Pid::from_raw(pid)),
            Ok(Some(Report::Refused { errno })) => {
                return Err(refusal(Errno::from_raw(errno)));
            }
            Ok(Some(Report::Ended { .. } | Report::Unheard { .. }) | None) => {
                return Err(StartError::Guard(io::ErrorKind::UnexpectedEof.into()));
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

    fn spawn(&self, launch: &Launch, control: OwnedFd) -> io::Result<Child> {
        Command::new(&self.program)
            .args(&self.args)
            .arg(STAGE_SUPERVISE)
            .arg(self.patience().as_millis().to_string())
            .args(&launch.argv)
            .current_dir(&launch.directory)
            .env_clear()
            .envs(launch.variables.iter().map(|(name, value)| (name, value)))
            .envs(launch.mark.variables())
            .stdin(Stdio::from(control))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Away from the worker's own group, so that Ctrl-C on a terminal reaches the worker alone.
            .process_group(0)
            .spawn()
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
            Some(Report::Ended { exit, left }) => (Ok(exit), left),
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
        // It has said its last word; this only takes its exit status.
        let _ = self.child.wait().await;
        end
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
        let (group, mark) = (self.group, self.mark);
        let search = tokio::task::spawn_blocking(move || {
            if let Some(group) = group {
                let _ = killpg(group, Signal::SIGKILL);
            }
            strays::kill_marked(&mark);
        });
        let _ = search.await;
    }
}
