//! Control groups: limits that the kernel keeps for all processes of a run together, and a way to end them all.
//!
//! Version 2 is used where this process may make groups below its own; else version 1, with a group in the tree of each
//! controller.
//!
//! A run's group is named for its worker and the run, so that one whose worker is gone is known for what it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::identity::{is_gone, of_this_process};
use super::limits::{LimitHit, Limits};
use crate::guard::RunMark;

mod memory;
mod place;

use place::Place;

const PREFIX: &str = "orchestrator-run-";
/// What the guard and bubblewrap need beside the run's own processes.
const OWN_PROCESSES: u64 = 6;
/// The period in which processor time is given out; the kernel's own default.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// A group whose processes were killed is empty in this time.
const END_PATIENCE: Duration = Duration::from_secs(5);
const END_PAUSE: Duration = Duration::from_millis(2);

/// Where runs get their groups.
#[derive(Debug)]
pub(super) struct Groups {
    place: Place,
    made: AtomicU64,
}

impl Groups {
    pub(super) fn find(as_worker: bool) -> Result<Self, String> {
        let mut place = Place::find(as_worker)?;
        place.memory = place
            .memory
            .and_then(|folder| memory::try_out(place.version, &folder).map(|()| folder));
        for parent in place.folders() {
            try_out(parent, |_| Ok(()))?;
        }
        Ok(Self {
            place,
            made: AtomicU64::new(0),
        })
    }

    /// Or why not.
    pub(super) fn limit_memory(&self) -> Result<(), &str> {
        match &self.place.memory {
            Ok(_) => Ok(()),
            Err(why) => Err(why),
        }
    }

    pub(super) fn limit_processes(&self) -> bool {
        self.place.processes.is_some()
    }

    pub(super) fn limit_cpu(&self) -> bool {
        self.place.cpu.is_some()
    }

    pub(super) fn version(&self) -> u8 {
        self.place.version
    }

    pub(super) fn make(&self, mark: &RunMark, limits: &Limits) -> io::Result<Group> {
        // A run may start more than one program, one after the other: each has a group of its own.
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "{PREFIX}{}-{}-{}-{number}",
            of_this_process(),
            mark.job,
            mark.attempt
        );
        let mut folders = Vec::new();
        for parent in self.place.folders() {
            let folder = parent.join(&name);
            match fs::create_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => folders.push(folder),
            }
        }
        let group = Group(Arc::new(Held {
            events: self.place.processes.as_ref().map(|it| it.join(&name)),
            memory: self.place.memory.as_ref().ok().map(|it| it.join(&name)),
            version: self.place.version,
            limits: *limits,
            folders,
        }));
        self.limit(&name, limits)?;
        Ok(group)
    }

    fn limit(&self, name: &str, limits: &Limits) -> io::Result<()> {
        if let (Some(parent), Some(number)) = (&self.place.processes, limits.processes) {
            let number = (number + OWN_PROCESSES).to_string();
            fs::write(parent.join(name).join("pids.max"), number)?;
        }
        if let (Some(parent), Some(percent)) = (&self.place.cpu, limits.cpu_percent) {
            let quota = CPU_PERIOD_MICROS * percent / 100;
            let (file, text) = match self.version() {
                1 => ("cpu.cfs_quota_us", quota.to_string()),
                _ => ("cpu.max", format!("{quota} {CPU_PERIOD_MICROS}")),
            };
            fs::write(parent.join(name).join(file), text)?;
        }
        if let (Ok(parent), Some(bytes)) = (&self.place.memory, limits.memory_bytes) {
            memory::limit(self.version(), &parent.join(name), bytes)?;
        }
        Ok(())
    }

    /// Ends and removes the groups of workers that are gone.
    pub(super) fn sweep(&self) -> usize {
        let mut names: Vec<String> = Vec::new();
        for parent in self.place.folders() {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let identity = name.strip_prefix(PREFIX).map(str::to_owned);
                let is_left = identity.is_some_and(|it| is_gone(&worker_in(&it)));
                if is_left && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        for name in &names {
            let folders = self.place.folders().into_iter();
            let folders: Vec<PathBuf> = folders.map(|it| it.join(name)).collect();
            end(&folders);
        }
        names.len()
    }
}

/// Makes a group, does something with it and removes it: files that look writable need not be.
fn try_out(parent: &Path, with: impl Fn(&Path) -> io::Result<()>) -> Result<(), String> {
    let trial = parent.join(format!("{PREFIX}{}-trial", of_this_process()));
    let cannot = |error| format!("no group can be made in {}: {error}", parent.display());
    fs::create_dir(&trial).map_err(cannot)?;
    let done = with(&trial);
    let removed = fs::remove_dir(&trial);
    done.and(removed).map_err(cannot)
}

/// The first three parts name the worker.
fn worker_in(name: &str) -> String {
    name.splitn(4, '-').take(3).collect::<Vec<_>>().join("-")
}

/// The group of one run. The last clone that is dropped ends it.
#[derive(Debug, Clone)]
pub(crate) struct Group(Arc<Held>);

#[derive(Debug)]
struct Held {
    folders: Vec<PathBuf>,
    /// Where the count of refused processes stands.
    events: Option<PathBuf>,
    /// Where its memory is counted.
    memory: Option<PathBuf>,
    version: u8,
    limits: Limits,
}

impl Group {
    /// A process that writes `0` there belongs to the group from then on, and so does what it starts.
    pub(super) fn doors(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.0.folders.iter().map(|it| it.join("cgroup.procs"))
    }

    pub(super) fn limits_memory(&self) -> bool {
        self.0.memory.is_some()
    }

    /// What the kernel refused the run, or killed it for.
    pub(super) fn hit(&self) -> Option<LimitHit> {
        let Held {
            events,
            memory,
            version,
            limits,
            ..
        } = self.0.as_ref();
        let counted = |folder: &Path, file: &str, key: &str| {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            count(&text, key) > 0
        };
        if let (Some(limit), Some(folder)) = (limits.memory_bytes, memory)
            && counted(folder, memory::events(*version), memory::KILLED)
        {
            return Some(LimitHit::Memory { limit });
        }
        if let (Some(limit), Some(folder)) = (limits.processes, events)
            && counted(folder, "pids.events", "max")
        {
            return Some(LimitHit::Processes { limit });
        }
        None
    }

    /// Kills whatever is left in it, and removes it.
    pub(crate) fn end(&self) {
        end(&self.0.folders);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.folders.iter().any(|it| it.exists()) {
            let folders = std::mem::take(&mut self.folders);
            // It may take a moment, and this may be a thread that runs other jobs.
            std::thread::spawn(move || end(&folders));
        }
    }
}

/// The number behind `key` in lines of `key number`.
fn count(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, number)| number.trim().parse().ok())
        .unwrap_or_default()
}

fn end(folders: &[PathBuf]) {
    let start = Instant::now();
    loop {
        let mut left = false;
        for folder in folders {
            if !folder.exists() {
                continue;
            }
            // No more of them, then none; a machine without `cgroup.kill` has them killed one by one.
            let _ = fs::write(folder.join("pids.max"), "0");
            if fs::write(folder.join("cgroup.kill"), "1").is_err() {
                kill_each(folder);
            }
            left |= fs::remove_dir(folder).is_err() && folder.exists();
        }
        if !left {
            return;
        }
        if start.elapsed() > END_PATIENCE {
            tracing::warn!(?folders, "a run's control group could not be removed yet");
            return;
        }
        std::thread::sleep(END_PAUSE);
    }
}

fn kill_each(folder: &Path) {
    let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.trim().parse().ok()) {
        // 0 stands for a process of another namespace, and would mean ourselves.
        if pid > 0 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_their_own_names() {
        let text = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(count(text, "oom_kill"), 2);
        assert_eq!(count(text, "max"), 12);
        assert_eq!(count(text, "oom_group_kill"), 0);
        assert_eq!(count("", "max"), 0);
    }

    #[test]
    fn the_worker_is_read_from_a_groups_name() {
        let name = format!(
            "{}-0190b0e0-1111-7000-8000-000000000000-3",
            of_this_process()
        );
        assert_eq!(worker_in(&name), of_this_process());
    }
}
