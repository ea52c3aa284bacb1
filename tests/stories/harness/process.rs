//! One process of the program, with its log in a file.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::watchdog;

pub struct Process {
    pub name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own; what it says goes to `log`, after what is there.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log can be opened");
        let stderr = file.try_clone().expect("the log can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let process = Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        };
        watchdog::watch(process.group());
        process
    }

    /// The process itself, and nothing that it started: what a crash of it alone looks like.
    pub fn kill_alone(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.group()), signal)
            .unwrap_or_else(|error| panic!("{} cannot be sent {signal}: {error}", self.name));
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("a child's state can be asked for")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn group(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are positive")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.group());
        // Whoever is left in the group, even when the process itself has ended.
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
        watchdog::forget(self.group());
    }
}

/// True while a process with this id works. One that ended and was not waited for yet is not alive.
pub fn is_alive(pid: i32) -> bool {
    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return false;
    }
    // The state stands behind the name, which may hold anything, parentheses included.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        !matches!(state, Some('Z' | 'X'))
    })
}

/// Those that have `line`, a name and its value, in their environment.
pub fn processes_with(line: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("/proc is there");
    let has = |pid: &i32| {
        let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        variables
            .split(|byte| *byte == 0)
            .any(|other| other == line.as_bytes())
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(has)
        .collect()
}
