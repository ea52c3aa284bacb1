//! Finds what the runs of dead workers left alive. Each process of a run names its worker in its environment; one whose
//! worker is gone has no business any more. In a process namespace of its own nothing can be left: this is for runs
//! without one.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::identity::{WORKER_VARIABLE, is_gone, of_this_process};

/// Kills processes of this user whose worker is gone; returns how many. Reads all of `/proc`.
pub fn sweep_processes() -> usize {
    // Read before others may start anew under an old id.
    let own = of_this_process();
    let start = format!("{WORKER_VARIABLE}=");
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    let left = processes.flatten().filter(|entry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment
            .split(|&byte| byte == 0)
            .filter_map(|line| line.strip_prefix(start.as_bytes()))
            .filter_map(|identity| std::str::from_utf8(identity).ok())
            .any(|identity| identity != own && is_gone(identity))
    });
    let mut killed = 0;
    for entry in left {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        let pid = Pid::from_raw(pid);
        // A worker that was itself started by a run is none of its left-overs.
        if pid != getpid() && kill(pid, Signal::SIGKILL).is_ok() {
            killed += 1;
        }
    }
    killed
}
