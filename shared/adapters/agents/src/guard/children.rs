//! The guard's view of what lives below it.
//!
//! It only ever signals its own children: a child's id cannot be taken by another process before its parent has waited
//! for it, so a wrong process is never hit. What is deeper becomes a child as soon as its parent is dead.

use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

/// A process that does not die of SIGKILL in this time hangs in the kernel; it dies when it comes back.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// Rounds without a pause: most trees are gone within these, and one that forks as it flees is caught by speed.
const FAST_ROUNDS: u32 = 20;
const ROUND_PAUSE: Duration = Duration::from_millis(2);

/// The id of the first process of a process namespace.
const FIRST: i32 = 1;
const EVERYBODY: i32 = -1;

/// Kills until nothing is left; returns how many could not be killed.
pub(super) fn kill_all() -> usize {
    let start = Instant::now();
    let all_is_ours = getpid().as_raw() == FIRST;
    for round in 0_u32.. {
        if reap_until_alive() {
            return 0;
        }
        if all_is_ours {
            // All but us, at one moment: nobody can fork away from it.
            let _ = kill(Pid::from_raw(EVERYBODY), Signal::SIGKILL);
        }
        let children = list();
        for &child in &children {
            // Gone meanwhile is what we want.
            let _ = kill(child, Signal::SIGKILL);
        }
        if start.elapsed() > KILL_PATIENCE {
            return children.len();
        }
        if round > FAST_ROUNDS {
            std::thread::sleep(ROUND_PAUSE);
        }
    }
    0
}

/// Waits for those who ended, but never for `leader`, whose end is waited for elsewhere.
pub(super) fn reap_all_but(leader: Pid) {
    for child in list() {
        if child != leader {
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// True when there are no children at all.
fn reap_until_alive() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return false,
            Err(Errno::ECHILD) => return true,
            // One was waited for; EINVAL too, for one that died of a signal that has no name.
            Ok(_) | Err(_) => {}
        }
    }
}

pub(super) fn list() -> Vec<Pid> {
    from_task_files().unwrap_or_else(from_stat_files)
}

/// The kernel's own list, one for each of our threads. `None` where the kernel was built without it.
fn from_task_files() -> Option<Vec<Pid>> {
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
        let text = fs::read_to_string(task.path().join("children")).ok()?;
        children.extend(text.split_ascii_whitespace().filter_map(parse_pid));
    }
    Some(children)
}

fn from_stat_files() -> Vec<Pid> {
    let own = getpid().to_string();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid = parse_pid(entry.file_name().to_str()?)?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // "pid (name) state ppid ...", where the name may hold anything.
            let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?;
            (parent == own).then_some(pid)
        })
        .collect()
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().map(Pid::from_raw)
}
