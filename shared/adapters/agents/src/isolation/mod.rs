//! What keeps a session to itself, as far as the machine gives it: a file system where it sees the system read-only and
//! nothing of other sessions, processes of its own, and limits on memory, processes, processor time and disk.
//!
//! What there is is found out by trying ([`Isolation::detect`]), once, when a worker starts, and every run is told
//! to the guard the same way. The guard stays what ends a run; with bubblewrap it is the first process of the run's own
//! process namespace, and the kernel ends whatever is in there when it ends.
//!
//! This module never decides for the operator: what is missing is said ([`Isolation::parts`]), and a worker that was
//! told to require isolation does not start without it.

mod bubblewrap;
mod cgroup;
mod disk;
mod identity;
mod limits;
mod report;
mod sweep;
mod watch;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use bubblewrap::Confined;
pub use limits::{LimitHit, Limits};
pub use report::Part;
pub use sweep::sweep_processes;

pub(crate) use cgroup::Group;
pub(crate) use identity::{WORKER_VARIABLE, of_this_process};
pub(crate) use watch::Watch;

use crate::guard::RunMark;
use bubblewrap::Bubblewrap;
use cgroup::Groups;

/// What the operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Demand {
    /// What the machine gives.
    #[default]
    Auto,
    /// Nothing but the guard.
    None,
    /// No worker without bubblewrap.
    Required,
}

/// How the operator wants sessions to be kept apart.
#[derive(Debug, Clone, Default)]
pub struct IsolationSetup {
    pub demand: Demand,
    /// No network for commands, not even the machine's own.
    pub without_network: bool,
    pub limits: Limits,
    /// Folders and files that no session sees: the data folder and what else holds secrets. Those that do not exist are
    /// left out.
    pub hidden: Vec<PathBuf>,
    /// Folders and files that sessions may read although they lie in a home folder.
    pub readable: Vec<PathBuf>,
    /// The home of the worker's user.
    pub home: Option<PathBuf>,
    /// Where programs are looked for: the worker's `PATH`.
    pub path: OsString,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "isolation is required (--isolation required, or --network off), and this machine does not give it: {0}. Install bubblewrap (Debian: apt-get install bubblewrap) and allow user namespaces, or ask for less"
)]
pub struct IsolationMissing(String);

/// What this machine gives, found out once. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Isolation(Option<Arc<Found>>);

#[derive(Debug)]
struct Found {
    setup: IsolationSetup,
    bubblewrap: Result<Bubblewrap, String>,
    groups: Result<Groups, String>,
}

/// Everything that starting one run confined takes.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// For the guard's first stage; empty where there is nothing for it to do.
    pub orders: Vec<OsString>,
    /// The run's process ids are not the worker's.
    pub own_processes: bool,
    /// Processes of this user in the run's own namespace; for the stage that becomes the program.
    pub processes: Option<u64>,
    pub group: Option<Group>,
    pub watch: Watch,
}

impl Isolation {
    /// The guard and nothing else.
    pub fn none() -> Self {
        Self(None)
    }

    /// Tries what there is. Takes a moment: programs are started. `as_worker`: this process may be moved into a control
    /// group below its own, so that its runs can have theirs.
    pub fn detect(setup: IsolationSetup, as_worker: bool) -> Self {
        if setup.demand == Demand::None {
            return Self::none();
        }
        let bubblewrap = Bubblewrap::find(&setup);
        let groups = Groups::find(as_worker);
        Self(Some(Arc::new(Found {
            setup,
            bubblewrap,
            groups,
        })))
    }

    /// That the machine gives what the operator insists on.
    pub fn check(&self) -> Result<(), IsolationMissing> {
        let Some(found) = &self.0 else {
            return Ok(());
        };
        let insists = found.setup.demand == Demand::Required || found.setup.without_network;
        match &found.bubblewrap {
            Err(why) if insists => Err(IsolationMissing(why.clone())),
            _ => Ok(()),
        }
    }

    /// Makes what a run needs before it starts.
    pub(crate) fn prepare(&self, mark: &RunMark, confined: &Confined) -> io::Result<Prepared> {
        let Some(found) = &self.0 else {
            return Ok(Prepared::default());
        };
        let limits = &found.setup.limits;
        let mut orders = Vec::new();
        let mut order = |name: &str, value: &OsStr| {
            orders.push(OsString::from(name));
            orders.push(value.to_owned());
        };
        let group = match &found.groups {
            Ok(groups) => Some(groups.make(mark, limits)?),
            Err(_) => None,
        };
        for file in group.iter().flat_map(Group::doors) {
            order("group", file.as_os_str());
        }
        let memory_is_grouped = group.as_ref().is_some_and(Group::limits_memory);
        if let (Some(bytes), false) = (limits.memory_bytes, memory_is_grouped) {
            order("data", OsStr::new(&bytes.to_string()));
        }
        if let Some(bytes) = limits.disk_bytes {
            order("file", OsStr::new(&bytes.to_string()));
        }
        let mut own_processes = false;
        if let Ok(bubblewrap) = &found.bubblewrap {
            let arguments = bubblewrap.arguments(&found.setup, confined)?;
            order("inside", OsStr::new(&arguments.len().to_string()));
            orders.extend(arguments);
            own_processes = true;
        }
        Ok(Prepared {
            orders,
            own_processes,
            processes: found.processes_by_user(),
            watch: Watch::new(group.as_ref(), limits, confined),
            group,
        })
    }

    /// Removes the control groups of runs whose worker is gone, and what lives in them; returns how many.
    pub fn sweep_groups(&self) -> usize {
        match &self.0.as_deref() {
            Some(Found {
                groups: Ok(groups), ..
            }) => groups.sweep(),
            _ => 0,
        }
    }
}

impl Found {
    /// In a user namespace of its own the kernel counts a user's processes for that namespace; but root's nowhere.
    fn processes_by_user(&self) -> Option<u64> {
        let grouped = self.groups.as_ref().is_ok_and(Groups::limit_processes);
        let counts = !grouped && self.bubblewrap.is_ok() && !nix::unistd::geteuid().is_root();
        counts.then_some(self.setup.limits.processes).flatten()
    }
}
