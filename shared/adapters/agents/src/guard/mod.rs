//! The small process that stands between a worker and a run's program.
//!
//! A worker can be killed at any moment, and a program can start others that leave its group and its parent. So each
//! program runs below a guard of its own, which is a *child subreaper*: whatever is orphaned below it becomes its
//! child, and when the kernel says that it has no children left, nothing is left. The guard learns of the worker's
//! death by the end of a socket that only the worker holds, and kills everything then. The program dies with its guard
//! (`PR_SET_PDEATHSIG`), and a worker that sees its guard killed looks for what was left by its job's mark.
//!
//! A worker that is frozen keeps its socket, and its jobs are run again elsewhere once its lease is over. So a worker
//! says regularly that it is there, and a guard that hears nothing for its patience kills everything too. Nothing can
//! be done while the guard is frozen with the worker; when it goes on and the worker does not, it kills then.
//!
//! Where a run is confined, the guard enters its control group and its namespaces first and is the first process of
//! the latter: nobody in there can end it, it can end all of them at once, and the kernel does so when it is gone.
//!
//! The guard never reads a configuration, starts no runtime, and touches no file but `/proc`.

mod behind;
mod children;
mod enter;
mod exec;
mod process;
mod protocol;
mod strays;
mod supervisor;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

pub use process::{Control, Guard, Launch, RunLost, RunMark, StartError, Started};
pub use protocol::Exit;

pub(crate) use behind::LeftBehind;
use protocol::{STAGE_ENTER, STAGE_EXEC, STAGE_SUPERVISE};

use crate::isolation::Isolation;

/// How long a guard goes without a word of its worker where nothing else was chosen: as long as a worker's usual lease,
/// since that is when its runs stop being its own.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a worker starts guards: a program and the arguments that make it call [`main`] with the rest.
#[derive(Debug, Clone)]
pub struct GuardCommand {
    pub program: std::path::PathBuf,
    pub args: Vec<String>,
    /// A worker silent for this long has lost its runs: the length of its lease.
    pub patience: Duration,
    /// What keeps runs to themselves that say what they may touch.
    pub isolation: Isolation,
}

impl GuardCommand {
    pub fn new(program: impl Into<std::path::PathBuf>, args: &[&str]) -> Self {
        Self {
            program: program.into(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            patience: PATIENCE,
            isolation: Isolation::none(),
        }
    }

    /// The worker's own binary, also after the file was replaced by a newer one.
    pub fn of_this_program(args: &[&str]) -> Self {
        Self::new("/proc/self/exe", args)
    }

    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    #[must_use]
    pub fn with_isolation(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }
}

/// The guard itself. `argv` is what follows the arguments of [`GuardCommand`], untouched: call this before anything
/// parses the command line, starts a thread or reads standard input.
pub fn main(argv: &[OsString]) -> ExitCode {
    match argv {
        [stage, rest @ ..] if stage == STAGE_ENTER => enter::main(argv, rest),
        [stage, patience, processes, command @ ..]
            if stage == STAGE_SUPERVISE && !command.is_empty() =>
        {
            match patience.to_str().and_then(|millis| millis.parse().ok()) {
                Some(millis) => {
                    supervisor::main(argv, Duration::from_millis(millis), processes, command)
                }
                None => ExitCode::from(2),
            }
        }
        [stage, rest @ ..] if stage == STAGE_EXEC => exec::main(rest),
        _ => ExitCode::from(2),
    }
}

/// What this program was started with before `argv`: the words that make it a guard.
fn own_arguments(argv: &[OsString]) -> Vec<OsString> {
    let all: Vec<OsString> = std::env::args_os().collect();
    let own = all.get(1..all.len().saturating_sub(argv.len()));
    own.unwrap_or_default().to_vec()
}
