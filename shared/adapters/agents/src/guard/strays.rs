//! The last net: when a guard itself was killed, what the program had moved out of its group is found by the mark that
//! every process of a run carries in its environment.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::RunMark;

/// Rounds of looking; each finds what the last one's victims had started meanwhile.
const ROUNDS: u32 = 50;

/// Kills every process of this user that carries the mark. Reads all of `/proc`: not for the usual way.
pub(super) fn kill_marked(mark: &RunMark) {
    for _ in 0..ROUNDS {
        let found = marked(mark);
        if found.is_empty() {
            return;
        }
        for pid in found {
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    tracing::error!(job = %mark.job, attempt = mark.attempt, "processes of a run could not be killed");
}

fn marked(mark: &RunMark) -> Vec<Pid> {
    let wanted = mark
        .variables()
        .map(|(name, value)| format!("{name}={value}").into_bytes());
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let has = |line: &Vec<u8>| {
                environment
                    .split(|&byte| byte == 0)
                    .any(|other| other == line.as_slice())
            };
            wanted.iter().all(has).then(|| Pid::from_raw(pid))
        })
        .collect()
}
