//! The second stage: the process that becomes the program.
//!
//! It binds its life to the guard's before it executes anything, so that a guard that is killed takes the program with
//! it. If the program cannot be executed, the system's reason goes through standard input, which is a pipe until then.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;

use super::enter::limit;

/// `rest`: the guard's process id, how many processes the user may have, the program, its arguments.
pub(super) fn main(rest: &[OsString]) -> ExitCode {
    let [guard, processes, program, arguments @ ..] = rest else {
        return ExitCode::from(2);
    };
    // A copy that closes by itself when the program is executed, which tells the guard that all went well.
    let Ok(reason) = std::io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::from(2);
    };
    let error = match prepare(guard, processes) {
        Ok(()) => Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .exec(),
        Err(error) => error,
    };
    let number = error.raw_os_error().unwrap_or(Errno::EINVAL as i32);
    // If the guard is gone there is nobody to tell.
    let _ = File::from(reason).write_all(number.to_string().as_bytes());
    ExitCode::from(127)
}

fn prepare(guard: &OsStr, processes: &OsStr) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The guard may have died before the line above took hold.
    if guard.to_str() != Some(&getppid().to_string()) {
        return Err(Errno::ESRCH.into());
    }
    // A program that becomes another user could not be killed by us.
    prctl::set_no_new_privs()?;
    // A crash must not drop a core file into the worktree.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // Counted for the user in this user namespace, and so from in here.
    if let Some(number) = processes.to_str().and_then(|it| it.parse().ok()) {
        limit(Resource::RLIMIT_NPROC, number)?;
    }
    Ok(SigSet::all().thread_unblock()?)
}
