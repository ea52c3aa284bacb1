//! Where on this machine a process may make control groups: below its own, in whichever version has the controllers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The worker's own group, when its runs are to have theirs beside it.
const WORKER: &str = "orchestrator-worker";
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// The folders in which runs' groups are made.
#[derive(Debug)]
pub(super) struct Place {
    pub version: u8,
    pub processes: Option<PathBuf>,
    pub cpu: Option<PathBuf>,
    /// Or why it is not limited by groups.
    pub memory: Result<PathBuf, String>,
}

impl Place {
    pub(super) fn find(as_worker: bool) -> Result<Self, String> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (mounts, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
        let second = match folder(&mounts, &own, None) {
            Some(folder) => Self::second(&folder, as_worker),
            None => Err("no control groups of version 2 are mounted".to_owned()),
        };
        second.or_else(|why| Self::first(&mounts, &own).map_err(|first| format!("{why}; {first}")))
    }

    /// Each folder once.
    pub(super) fn folders(&self) -> Vec<&PathBuf> {
        let all = [
            self.processes.as_ref(),
            self.cpu.as_ref(),
            self.memory.as_ref().ok(),
        ];
        let mut folders: Vec<&PathBuf> = Vec::new();
        for folder in all.into_iter().flatten() {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }

    fn second(own: &Path, as_worker: bool) -> Result<Self, String> {
        let shown = own.display();
        let has = words(&own.join("cgroup.controllers"));
        let wanted: Vec<&str> = CONTROLLERS
            .into_iter()
            .filter(|name| has.iter().any(|other| other == name))
            .collect();
        if !wanted.iter().any(|name| matches!(*name, "memory" | "pids")) {
            return Err(format!(
                "the control group {shown} has neither the memory nor the pids controller"
            ));
        }
        let control = own.join("cgroup.subtree_control");
        let given = words(&control);
        let is_given = |name: &&str| given.iter().any(|other| other == name);
        if !wanted.iter().all(is_given) {
            hand_on(own, &control, &wanted, as_worker)?;
        }
        let with = |name: &str| wanted.contains(&name).then(|| own.to_owned());
        Ok(Self {
            version: 2,
            processes: with("pids"),
            cpu: with("cpu"),
            memory: with("memory")
                .ok_or_else(|| format!("the control group {shown} has no memory controller")),
        })
    }

    /// Version 1 has a tree for each controller, and each is used where it can be.
    fn first(mounts: &str, own: &str) -> Result<Self, String> {
        let writable = |name| {
            let folder = folder(mounts, own, Some(name))
                .ok_or_else(|| format!("the {name} controller of version 1 is not mounted"))?;
            match nix::unistd::access(&folder, nix::unistd::AccessFlags::W_OK) {
                Ok(()) => Ok(folder),
                Err(errno) => Err(format!(
                    "this user cannot make groups in {}: {errno}",
                    folder.display()
                )),
            }
        };
        let (processes, memory) = (writable("pids"), writable("memory"));
        let memory = memory.and_then(|folder| counts_what_lies_below(&folder).map(|()| folder));
        match (processes, memory) {
            (Err(why), Err(other)) => Err(format!("{why}; {other}")),
            (processes, memory) => Ok(Self {
                version: 1,
                processes: processes.ok(),
                cpu: writable("cpu").ok(),
                memory,
            }),
        }
    }
}

/// On kernels before 5.11 the administrator chooses that for each group. Without it a run's memory would be missing from
/// what the worker's own group is held to.
fn counts_what_lies_below(folder: &Path) -> Result<(), String> {
    let file = folder.join("memory.use_hierarchy");
    match fs::read_to_string(&file) {
        Ok(text) if text.trim() == "0" => Err(format!("{} is 0, and has to be 1", file.display())),
        // Newer kernels know nothing else, and may have no such file.
        _ => Ok(()),
    }
}

/// A group with processes in it cannot limit those below it. So a worker that is alone in its group moves into one of
/// its own; a process that is not alone leaves the others where they are.
fn hand_on(own: &Path, control: &Path, wanted: &[&str], as_worker: bool) -> Result<(), String> {
    let shown = own.display();
    let cannot = |error: io::Error| {
        format!(
            "the control group {shown} is not delegated to this user: {error} (systemd: Delegate=yes)"
        )
    };
    nix::unistd::access(control, nix::unistd::AccessFlags::W_OK)
        .map_err(|errno| cannot(errno.into()))?;
    let is_other = |pid: &String| *pid != std::process::id().to_string();
    if words(&own.join("cgroup.procs")).iter().any(is_other) {
        return Err(format!(
            "other processes live in the control group {shown}; start the worker in one of its own (systemd: a service with Delegate=yes)"
        ));
    }
    if !as_worker {
        return Ok(());
    }
    let worker = own.join(WORKER);
    match fs::create_dir(&worker) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(cannot(error)),
        _ => {}
    }
    fs::write(worker.join("cgroup.procs"), "0").map_err(cannot)?;
    let text: Vec<String> = wanted.iter().map(|name| format!("+{name}")).collect();
    fs::write(control, text.join(" ")).map_err(cannot)
}

fn words(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The folder of this process's own group: of version 2, or of version 1 with `controller`.
fn folder(mounts: &str, own: &str, controller: Option<&str>) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        let is_it = match controller {
            None => names.is_empty(),
            Some(name) => names.split(',').any(|other| other == name),
        };
        is_it.then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (name, options) = (kind.next()?, kind.nth(1).unwrap_or_default());
        let is_it = match controller {
            None => name == "cgroup2",
            Some(controller) => {
                name == "cgroup" && options.split(',').any(|other| other == controller)
            }
        };
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // What is mounted may be a part of the whole, as in a container.
        let below = Path::new(path).strip_prefix(root).ok()?;
        is_it.then(|| Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_both_versions() {
        let mounts = "\
36 31 0:33 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
37 31 0:34 / /sys/fs/cgroup/cpu rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let own = "9:pids:/jobs\n3:cpu,cpuacct:/\n0::/system.slice/x.service\n";
        let at = |controller| folder(mounts, own, controller);
        assert_eq!(
            at(None),
            Some(PathBuf::from(
                "/sys/fs/cgroup/unified/system.slice/x.service"
            ))
        );
        assert_eq!(
            at(Some("pids")),
            Some(PathBuf::from("/sys/fs/cgroup/pids/jobs"))
        );
        assert_eq!(at(Some("cpu")), Some(PathBuf::from("/sys/fs/cgroup/cpu")));
        assert_eq!(at(Some("memory")), None);
    }

    #[test]
    fn controllers_of_version_1_are_used_each_for_itself() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        for name in ["pids", "memory"] {
            fs::create_dir(at(name)).unwrap();
        }
        let mount = |name: &str| {
            let at = at(name).display().to_string();
            format!("36 31 0:33 / {at} rw - cgroup cgroup rw,{name}\n")
        };
        let own = "2:memory:/\n1:pids:/\n";
        let both = Place::first(&(mount("pids") + &mount("memory")), own).unwrap();
        assert_eq!(both.folders(), [&at("pids"), &at("memory")]);
        let one = Place::first(&mount("memory"), own).unwrap();
        assert_eq!((one.processes, one.memory), (None, Ok(at("memory"))));

        fs::write(at("memory").join("memory.use_hierarchy"), "0\n").unwrap();
        let place = Place::first(&(mount("pids") + &mount("memory")), own).unwrap();
        let why = place.memory.unwrap_err();
        assert!(why.contains("use_hierarchy is 0"), "{why}");
        let why = Place::first(&mount("memory"), own).unwrap_err();
        assert!(
            why.contains("pids controller") && why.contains("is 0"),
            "{why}"
        );
    }

    #[test]
    fn a_part_that_is_mounted_in_a_container_is_followed() {
        let mounts = "9 8 0:3 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let at = folder(mounts, "0::/docker/ab/inner\n", None);
        assert_eq!(at, Some(PathBuf::from("/sys/fs/cgroup/inner")));
        assert_eq!(folder(mounts, "0::/docker/other\n", None), None);
    }
}
