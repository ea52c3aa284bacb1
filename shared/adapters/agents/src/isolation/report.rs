//! What this machine gives, in words for the operator.

use super::limits::size;
use super::{Found, Isolation};

/// One means of isolation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: &'static str,
    pub works: bool,
    /// What it does, or why it is not there.
    pub finding: String,
}

impl Part {
    fn there(name: &'static str, finding: impl Into<String>) -> Self {
        Self {
            name,
            works: true,
            finding: finding.into(),
        }
    }

    fn missing(name: &'static str, finding: impl Into<String>) -> Self {
        Self {
            name,
            works: false,
            finding: finding.into(),
        }
    }
}

impl Isolation {
    /// Each means, in an order of its own.
    pub fn parts(&self) -> Vec<Part> {
        match &self.0 {
            Some(found) => vec![
                found.file_system(),
                found.network(),
                found.memory(),
                found.processes(),
                found.cpu(),
                found.disk(),
            ],
            None => Vec::new(),
        }
    }

    /// Sessions are kept out of each other's files, and out of the worker's.
    pub fn is_private(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|found| found.bubblewrap.is_ok())
    }

    /// All of it in a sentence.
    pub fn level(&self) -> String {
        let Some(found) = &self.0 else {
            return "off: sessions run as the worker's user, with all that this user may do; their processes are found and ended".to_owned();
        };
        let place = if found.bubblewrap.is_ok() {
            "sessions see the system read-only, nothing of each other or of the worker, and end as a whole"
        } else {
            "sessions run as the worker's user, with all that this user may do; their processes are found and ended"
        };
        let missing: Vec<&str> = self
            .parts()
            .into_iter()
            .filter(|part| !part.works && matches!(part.name, "memory" | "processes"))
            .map(|part| part.name)
            .collect();
        if missing.is_empty() {
            return place.to_owned();
        }
        format!("{place}; not limited: {}", missing.join(", "))
    }
}

impl Found {
    fn file_system(&self) -> Part {
        match &self.bubblewrap {
            Ok(bubblewrap) => Part::there(
                "file system and processes",
                format!("bubblewrap {}", bubblewrap.version),
            ),
            Err(why) => Part::missing("file system and processes", why.clone()),
        }
    }

    fn network(&self) -> Part {
        match (&self.bubblewrap, self.setup.without_network) {
            (Ok(_), true) => Part::there("network", "off for commands"),
            (_, false) => Part::there("network", "on: sessions reach what the worker reaches"),
            (Err(_), true) => Part::missing("network", "on: turning it off takes bubblewrap"),
        }
    }

    fn memory(&self) -> Part {
        let Some(bytes) = self.setup.limits.memory_bytes else {
            return Part::missing("memory", "no limit is set (memory_limit_bytes)");
        };
        let bytes = size(bytes);
        match &self.groups {
            Ok(groups) => match groups.limit_memory() {
                Ok(()) => Part::there(
                    "memory",
                    format!(
                        "{bytes} a session, by control groups of version {}",
                        groups.version()
                    ),
                ),
                Err(why) => Part::missing(
                    "memory",
                    format!("only {bytes} a process (RLIMIT_DATA), not a session: {why}"),
                ),
            },
            Err(why) => Part::missing(
                "memory",
                format!("only {bytes} a process (RLIMIT_DATA), not a session: {why}"),
            ),
        }
    }

    fn processes(&self) -> Part {
        let Some(number) = self.setup.limits.processes else {
            return Part::missing("processes", "no limit is set (pids_limit)");
        };
        let why = match &self.groups {
            Ok(groups) if groups.limit_processes() => {
                let version = groups.version();
                let words = format!("{number} a session, by control groups of version {version}");
                return Part::there("processes", words);
            }
            Ok(_) => "control groups without the pids controller",
            Err(why) => why,
        };
        if self.processes_by_user().is_some() {
            let words = format!("{number} a session, by RLIMIT_NPROC in its user namespace");
            return Part::there("processes", words);
        }
        let root = if nix::unistd::geteuid().is_root() {
            "; the system's limit for a user (RLIMIT_NPROC) does not hold for root"
        } else {
            "; the system's limit for a user (RLIMIT_NPROC) counts all that this user runs, so it is not used"
        };
        Part::missing("processes", format!("not limited: {why}{root}"))
    }

    fn cpu(&self) -> Part {
        let grouped = self.groups.as_ref().is_ok_and(super::Groups::limit_cpu);
        match (self.setup.limits.cpu_percent, grouped) {
            (None, true) => Part::there(
                "processor",
                "shared out by the system (cpu_limit_percent sets a limit)",
            ),
            (None, false) => Part::missing(
                "processor",
                "shared out by the system; a limit takes control groups",
            ),
            (Some(percent), true) => Part::there(
                "processor",
                format!("{percent} % of one processor a session, by control groups"),
            ),
            (Some(_), false) => {
                Part::missing("processor", "not limited: that takes control groups")
            }
        }
    }

    fn disk(&self) -> Part {
        match self.setup.limits.disk_bytes {
            Some(bytes) => Part::there(
                "disk",
                format!(
                    "{} a session, looked at while it goes on; no file is larger",
                    size(bytes)
                ),
            ),
            None => Part::missing("disk", "no limit is set (disk_limit_bytes)"),
        }
    }
}
