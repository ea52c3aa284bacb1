//! The first stage: starts the program, obeys the worker, and leaves nothing behind.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, close, getpid};

use super::behind::{self, LeftBehind};
use super::protocol::{Exit, OPEN_FILES, Order, Report, STAGE_EXEC};
use super::{children, own_arguments};

struct Leader {
    /// The program's process, for as long as its id is surely its own.
    pid: Option<Pid>,
    /// The worker told it to end.
    told: bool,
    /// It was killed because the worker was silent.
    unheard: bool,
}

/// `argv` is all that [`super::main`] was given, `processes` how many the user may have, `command` the program and its
/// arguments.
pub(super) fn main(
    argv: &[OsString],
    patience: Duration,
    processes: &OsStr,
    command: &[OsString],
) -> ExitCode {
    close_own_program();
    // Signals to the guard change nothing: it ends when the program has, or when the worker is gone or silent.
    let blocked = SigSet::all().thread_block();
    let Ok(control) = std::io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::from(2);
    };
    let control = UnixStream::from(control);
    // The system measures it by its monotonic clock, from one word of the worker to the next.
    if control.set_read_timeout(Some(patience)).is_err() {
        return ExitCode::from(2);
    }
    // In a namespace of its own the program finds this process; it is not to look into it, nor to steer it.
    let ready = blocked
        .and_then(|()| prctl::set_child_subreaper(true))
        .and_then(|()| prctl::set_dumpable(false));
    let report = match ready {
        Ok(()) => supervise(&control, argv, processes, command),
        Err(errno) => Report::Refused {
            errno: errno as i32,
        },
    };
    send(&control, &report);
    ExitCode::SUCCESS
}

/// Inside a run's namespaces this program was executed from an open descriptor. The run is not to have it: behind it
/// lies the worker's own file, outside.
fn close_own_program() {
    let name = std::env::args_os().next();
    let number = name
        .as_ref()
        .and_then(|it| it.to_str()?.strip_prefix(OPEN_FILES)?.parse().ok());
    if let Some(number) = number {
        let _: Result<(), Errno> = close::<RawFd>(number);
    }
}

fn supervise(
    control: &UnixStream,
    argv: &[OsString],
    processes: &OsStr,
    command: &[OsString],
) -> Report {
    // From the main thread: the program is bound to the life of the thread that starts it.
    let mut child = match start(argv, processes, command) {
        Ok(child) => child,
        Err(errno) => {
            children::kill_all();
            return Report::Refused { errno };
        }
    };
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    send(control, &Report::Started { pid: pid.as_raw() });
    let leader = Arc::new(Mutex::new(Leader {
        pid: Some(pid),
        told: false,
        unheard: false,
    }));
    obey(control, Arc::clone(&leader));
    wait_for(pid);
    // Nobody has waited for the program yet, so its group's id is still its own.
    let (told, unheard) = {
        let mut leader = lock(&leader);
        leader.pid = None;
        (leader.told, leader.unheard)
    };
    let behind = if told {
        LeftBehind::default()
    } else {
        behind::look(pid)
    };
    let _ = killpg(pid, Signal::SIGKILL);
    let exit = child
        .wait()
        .map_or(Exit::Signal(Signal::SIGKILL as i32), Exit::from);
    let left = children::kill_all();
    if unheard {
        return Report::Unheard { left };
    }
    Report::Ended { exit, left, behind }
}

/// Starts the second stage of this same program, and waits until it has become the program or says why not.
fn start(argv: &[OsString], processes: &OsStr, command: &[OsString]) -> Result<Child, i32> {
    let unknown = Errno::EINVAL as i32;
    let (mut reasons, reason) = std::io::pipe().map_err(|e| e.raw_os_error().unwrap_or(unknown))?;
    let child = Command::new("/proc/self/exe")
        .args(own_arguments(argv))
        .arg(STAGE_EXEC)
        .arg(getpid().to_string())
        .arg(processes)
        .args(command)
        .stdin(reason)
        .process_group(0)
        .spawn();
    let mut child = child.map_err(|e| e.raw_os_error().unwrap_or(unknown))?;
    let mut text = String::new();
    // Ends when the second stage's copies are closed, by execution or by death.
    let read = reasons.read_to_string(&mut text);
    if read.is_ok() && text.is_empty() {
        return Ok(child);
    }
    let _ = child.wait();
    Err(text.parse().unwrap_or(unknown))
}

/// Follows the worker's orders on a thread of its own until the program has ended.
fn obey(control: &UnixStream, leader: Arc<Mutex<Leader>>) {
    let Ok(control) = control.try_clone() else {
        return;
    };
    std::thread::spawn(move || {
        let mut lines = BufReader::new(control).lines();
        loop {
            let (order, unheard) = match lines.next() {
                Some(Ok(line)) => (Order::parse(&line), false),
                // The worker is gone, or it was silent for as long as the socket waits.
                None => (Some(Order::Kill), false),
                Some(Err(error)) => (Some(Order::Kill), error.kind() == ErrorKind::WouldBlock),
            };
            let mut held = lock(&leader);
            match (order, held.pid) {
                (_, None) => return,
                (Some(Order::Terminate), Some(pid)) => {
                    held.told = true;
                    let _ = killpg(pid, Signal::SIGTERM);
                    let _ = killpg(pid, Signal::SIGCONT);
                }
                (Some(Order::Kill), Some(pid)) => {
                    // The program itself too, should it have joined another group. Its end wakes the main thread,
                    // which kills the rest.
                    let _ = killpg(pid, Signal::SIGKILL);
                    let _ = kill(pid, Signal::SIGKILL);
                    held.told = true;
                    held.unheard = unheard;
                    return;
                }
                (Some(Order::GoOn) | None, Some(_)) => {}
            }
        }
    });
}

fn lock(leader: &Mutex<Leader>) -> MutexGuard<'_, Leader> {
    leader.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns when `leader` has ended, without taking its exit status; waits for orphans as they end.
fn wait_for(leader: Pid) {
    let alive = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    loop {
        let _ = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        match waitid(Id::Pid(leader), alive) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => children::reap_all_but(leader),
            // An error too means that it ended: of a signal without a name.
            Ok(_) | Err(_) => return,
        }
    }
}

/// A worker that is gone needs no report.
fn send(mut control: &UnixStream, report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let _ = control.write_all(&line);
    }
}
