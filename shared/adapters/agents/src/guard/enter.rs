//! The stage before the guard: a process that joins the run's control group, takes its limits on, and becomes the guard,
//! inside the run's own namespaces where there are any.
//!
//! It executes and never forks, so that the worker's child is still the one to wait for. What goes wrong is said on
//! standard error: there is no guard yet to report it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::Mode;

use super::own_arguments;
use super::protocol::{OPEN_FILES, STAGE_SUPERVISE};

const OWN_PROGRAM: &str = "/proc/self/exe";

/// `argv` is all that [`super::main`] was given; `rest`: pairs of an order and its value, then the guard's own stage.
pub(super) fn main(argv: &[OsString], rest: &[OsString]) -> ExitCode {
    match obey(argv, rest) {
        Ok(never) => match never {},
        Err(error) => {
            // Read by the worker.
            let words = format!("the run's confines could not be entered: {error}\n");
            let _ = io::Write::write_all(&mut io::stderr(), words.as_bytes());
            ExitCode::from(2)
        }
    }
}

fn obey(argv: &[OsString], mut rest: &[OsString]) -> io::Result<std::convert::Infallible> {
    let mut inside: &[OsString] = &[];
    loop {
        match rest {
            [stage, ..] if stage == STAGE_SUPERVISE => return become_guard(argv, inside, rest),
            [order, value, more @ ..] => {
                rest = more;
                if order == "inside" {
                    let count = usize::try_from(number(value)?).map_err(io::Error::other)?;
                    let Some((taken, left)) = rest.split_at_checked(count) else {
                        return Err(io::ErrorKind::InvalidInput.into());
                    };
                    (inside, rest) = (taken, left);
                } else {
                    take_on(order, value)?;
                }
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

fn take_on(order: &OsStr, value: &OsString) -> io::Result<()> {
    match order.to_str() {
        Some("group") => fs::write(value, "0"),
        Some("data") => limit(Resource::RLIMIT_DATA, number(value)?),
        Some("file") => limit(Resource::RLIMIT_FSIZE, number(value)?),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// No higher than this process's own limit, which only root may raise.
pub(super) fn limit(resource: Resource, wanted: u64) -> io::Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    let value = wanted.min(hard);
    Ok(setrlimit(resource, value, value)?)
}

fn number(value: &OsString) -> io::Result<u64> {
    let number = value.to_str().and_then(|it| it.parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Inside, the program's file may not have a name, so it is handed over open.
fn become_guard(
    argv: &[OsString],
    inside: &[OsString],
    stage: &[OsString],
) -> io::Result<std::convert::Infallible> {
    let own = own_arguments(argv);
    let error = match inside {
        [] => Command::new(OWN_PROGRAM).args(own).args(stage).exec(),
        [program, arguments @ ..] => {
            let file: OwnedFd = open(OWN_PROGRAM, OFlag::O_PATH, Mode::empty())?;
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Command::new(program)
                .args(arguments)
                .arg("--")
                .arg(format!("{OPEN_FILES}{}", file.as_raw_fd()))
                .args(own)
                .args(stage)
                .exec()
        }
    };
    Err(error)
}
