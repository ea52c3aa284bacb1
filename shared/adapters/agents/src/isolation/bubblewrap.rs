//! A file system and namespaces of a run's own, made by the program `bwrap`.
//!
//! A run sees the system as it is, read-only, at the same paths as the worker. Homes, `/run` and what the operator hides
//! are empty; its worktree and its private folder are the only places to write. `/tmp`, `/var/tmp` and `/dev/shm` lie in
//! the private folder, so that what is left there is counted, and gone with the run.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::IsolationSetup;
use crate::private::own_folder;

const PROGRAM: &str = "bwrap";
/// Hidden on every machine: keys of people, and the sockets of the machine's services.
const HOMES: [&str; 3] = ["/home", "/root", "/run"];
/// Where every program may write.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// `/proc/sys` belongs to root, and a run may be root's.
const KERNEL_SETTINGS: &str = "/proc/sys";
const WORDS_BYTES: usize = 500;

/// What a run may touch.
#[derive(Debug, Clone, Default)]
pub struct Confined {
    /// Where it works.
    pub tree: PathBuf,
    /// Its home and temporary files.
    pub private: PathBuf,
    /// Folders beside these two that it may write to.
    pub writable: Vec<PathBuf>,
    /// What it may read although it lies in a hidden folder.
    pub readable: Vec<PathBuf>,
    /// The worker has to reach it.
    pub needs_network: bool,
}

#[derive(Debug)]
pub(super) struct Bubblewrap {
    program: PathBuf,
    pub version: String,
}

impl Bubblewrap {
    /// Found and tried: a program that is there need not be allowed to do it. Else the reason.
    pub(super) fn find(setup: &IsolationSetup) -> Result<Self, String> {
        let program = std::env::split_paths(&setup.path)
            .map(|folder| folder.join(PROGRAM))
            .find(|path| path.is_file())
            .ok_or("bubblewrap (`bwrap`) is not on the worker's PATH")?;
        let said = output(Command::new(&program).arg("--version"))?;
        let version = said.trim().trim_start_matches("bubblewrap ").to_owned();
        let mut trial = Command::new(&program);
        trial.args(namespaces(setup.without_network));
        let mut mounts = Mounts::system(setup);
        mounts.add("--tmpfs", &[Path::new(TEMPORARY[0])]);
        trial
            .args(mounts.finish())
            .args(["--", "/bin/sh", "-c", ":"]);
        output(&mut trial)
            .map_err(|why| format!("bubblewrap {version} does not work here: {why}"))?;
        Ok(Self { program, version })
    }

    /// The program and all arguments up to the command.
    pub(super) fn arguments(
        &self,
        setup: &IsolationSetup,
        confined: &Confined,
    ) -> io::Result<Vec<OsString>> {
        let shared_memory = confined.private.join("shm");
        let temporary = confined.private.join("tmp");
        for folder in [&shared_memory, &temporary] {
            own_folder(folder)?;
        }
        let mut mounts = Mounts::system(setup);
        mounts.add("--bind", &[&shared_memory, Path::new("/dev/shm")]);
        for place in TEMPORARY.map(Path::new) {
            if place.is_dir() {
                mounts.add("--bind", &[&temporary, place]);
            }
        }
        mounts.reveal(setup, confined);
        let mut arguments = vec![self.program.clone().into_os_string()];
        let without_network = setup.without_network && !confined.needs_network;
        arguments.extend(namespaces(without_network).map(OsString::from));
        arguments.extend(mounts.finish());
        arguments.extend(["--chdir".into(), confined.tree.clone().into_os_string()]);
        Ok(arguments)
    }
}

/// The guard is the first process of the namespace, and nobody in it can end the first process.
fn namespaces(without_network: bool) -> impl Iterator<Item = &'static str> {
    let always = [
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--as-pid-1",
        "--new-session",
        "--cap-drop",
        "ALL",
    ];
    let network = without_network.then_some("--unshare-net");
    always.into_iter().chain(network)
}

/// Mounts in their order: a later one lies over an earlier one.
struct Mounts {
    arguments: Vec<OsString>,
    /// Empty folders of ours, made read-only when all that lies in them is mounted.
    empty: Vec<PathBuf>,
}

impl Mounts {
    /// The system without homes, with devices and processes of its own.
    fn system(setup: &IsolationSetup) -> Self {
        let mut mounts = Self {
            arguments: Vec::new(),
            empty: Vec::new(),
        };
        let root = Path::new("/");
        mounts.add("--ro-bind", &[root, root]);
        let homes = homes(setup);
        for home in &homes {
            mounts.hide(home);
        }
        let on_path = std::env::split_paths(&setup.path)
            .filter(|folder| folder.is_dir() && !homes.contains(folder));
        // Where systemd keeps what /etc/resolv.conf means.
        let resolver = Path::new("/etc/resolv.conf").canonicalize().ok();
        let readable = setup
            .readable
            .iter()
            .cloned()
            .chain(on_path)
            .chain(resolver);
        for path in readable {
            if homes.iter().any(|home| path.starts_with(home)) && path.exists() {
                mounts.add("--ro-bind", &[&path, &path]);
            }
        }
        mounts.add("--dev", &[Path::new("/dev")]);
        mounts.empty.push(PathBuf::from("/dev"));
        mounts.add("--proc", &[Path::new("/proc")]);
        let settings = Path::new(KERNEL_SETTINGS);
        mounts.add("--ro-bind", &[settings, settings]);
        mounts
    }

    /// Hides what the operator hides, and shows the run its own.
    fn reveal(&mut self, setup: &IsolationSetup, confined: &Confined) {
        for path in &setup.hidden {
            self.hide(path);
        }
        for path in &confined.readable {
            self.add("--ro-bind", &[path, path]);
        }
        let own = [&confined.tree, &confined.private];
        for path in own.into_iter().chain(&confined.writable) {
            self.add("--bind", &[path, path]);
        }
    }

    fn hide(&mut self, path: &Path) {
        if path.is_dir() {
            self.add("--tmpfs", &[path]);
            self.empty.push(path.to_owned());
        } else if path.exists() {
            self.add("--ro-bind", &[Path::new("/dev/null"), path]);
        }
    }

    fn add(&mut self, what: &str, paths: &[&Path]) {
        self.arguments.push(what.into());
        self.arguments
            .extend(paths.iter().map(|path| path.as_os_str().to_owned()));
    }

    fn finish(mut self) -> Vec<OsString> {
        for path in std::mem::take(&mut self.empty) {
            self.add("--remount-ro", &[&path]);
        }
        self.arguments
    }
}

/// Real paths: a link cannot be mounted over. Never the root, nor what every program writes to.
fn homes(setup: &IsolationSetup) -> Vec<PathBuf> {
    let usual = HOMES.iter().map(PathBuf::from);
    let mut homes: Vec<PathBuf> = Vec::new();
    for home in usual.chain(setup.home.clone()) {
        let Ok(home) = home.canonicalize() else {
            continue;
        };
        let is_shared = home == Path::new("/")
            || TEMPORARY.iter().any(|place| home.starts_with(place))
            || homes.iter().any(|other| home.starts_with(other));
        if home.is_dir() && !is_shared {
            homes.push(home);
        }
    }
    homes
}

/// What a program prints, or why it failed.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .current_dir(OsStr::new("/"))
        .output()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: String = words.trim().chars().take(WORDS_BYTES).collect();
    Err(format!("{words} ({})", output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_sees_its_own_over_what_is_hidden() {
        let base = tempfile::tempdir().unwrap();
        let data = base.path().join("data");
        let tree = data.join("runs/1/tree");
        std::fs::create_dir_all(&tree).unwrap();
        let setup = IsolationSetup {
            hidden: vec![data.clone(), base.path().join("not-there")],
            ..IsolationSetup::default()
        };
        let confined = Confined {
            tree: tree.clone(),
            private: data.join("runs/1/private"),
            ..Confined::default()
        };
        let bubblewrap = Bubblewrap {
            program: PathBuf::from("/usr/bin/bwrap"),
            version: String::new(),
        };
        let arguments = bubblewrap.arguments(&setup, &confined).unwrap();
        let position = |what: &str, path: &Path| {
            let at = arguments.windows(2);
            at.into_iter()
                .position(|pair| pair[0] == what && pair[1] == path.as_os_str())
        };
        let hidden = position("--tmpfs", &data).unwrap();
        let shown = position("--bind", &tree).unwrap();
        let closed = position("--remount-ro", &data).unwrap();
        assert!(hidden < shown && shown < closed);
        assert!(confined.private.join("shm").is_dir());
        let text = format!("{arguments:?}");
        assert!(!text.contains("not-there"), "{text}");
        assert!(!text.contains("--unshare-net"), "{text}");
    }
}
