//! Who a process is, for those who find what it left: its namespace, its id, and when it started. An id alone may have
//! been given to another process since.

use std::fs;
use std::sync::OnceLock;

/// The variable of every process of a run that names its worker.
pub(crate) const WORKER_VARIABLE: &str = "ORCHESTRATOR_WORKER";

/// `<namespace>-<pid>-<start>`.
pub(crate) fn of_this_process() -> &'static str {
    static IDENTITY: OnceLock<String> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let pid = std::process::id();
        let start = start_of(pid).unwrap_or_default();
        format!("{}-{pid}-{start}", namespace())
    })
}

/// True when the process that `identity` names is surely gone. One of another process namespace cannot be judged.
pub(super) fn is_gone(identity: &str) -> bool {
    let mut parts = identity.splitn(3, '-').map(str::parse::<u64>);
    let (Some(Ok(space)), Some(Ok(pid)), Some(Ok(start))) =
        (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Ok(pid) = u32::try_from(pid) else {
        return false;
    };
    space == namespace() && space != 0 && start_of(pid) != Some(start)
}

/// The number of this process's own process namespace; 0 where the system does not say.
fn namespace() -> u64 {
    static NAMESPACE: OnceLock<u64> = OnceLock::new();
    *NAMESPACE.get_or_init(|| {
        let name = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let name = name.to_string_lossy();
        name.trim_start_matches("pid:[")
            .trim_end_matches(']')
            .parse()
            .unwrap_or_default()
    })
}

/// In ticks since the machine's start; `None` for a process that is gone or dead.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // "pid (name) state ...", where the name may hold anything; the start is the 22nd of all.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_there_and_an_older_one_of_its_id_is_not() {
        let own = of_this_process();
        assert!(!is_gone(own), "{own}");
        let (head, start) = own.rsplit_once('-').unwrap();
        let earlier = start.parse::<u64>().unwrap() - 1;
        assert!(is_gone(&format!("{head}-{earlier}")));
    }

    #[test]
    fn what_cannot_be_judged_is_left_alone() {
        for other in ["", "x", "1-2", "17-1-5", "0-0-0"] {
            assert!(!is_gone(other), "{other}");
        }
    }
}
