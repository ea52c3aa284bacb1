//! What a program left running when it ended, by its names, so that whoever reads the run's log knows that it was ended.

use std::collections::HashMap;
use std::fmt;
use std::fs;

use nix::unistd::{Pid, getpid};
use serde::{Deserialize, Serialize};

use super::children;

/// Of more only the number is told.
const NAMED: usize = 8;
/// A process that has ended, and that nobody has waited for.
const ZOMBIE: &str = "Z";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    pub number: usize,
    /// Of the first of them, as the system has them: at most 15 bytes each.
    names: Vec<String>,
}

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.join(", ");
        let more = self.number.saturating_sub(self.names.len());
        match (self.number, more) {
            (1, _) => write!(f, "a process was left behind and ended: {names}"),
            (number, 0) => write!(f, "{number} processes were left behind and ended: {names}"),
            (number, more) => write!(
                f,
                "{number} processes were left behind and ended: {names}, and {more} more"
            ),
        }
    }
}

struct Process {
    pid: i32,
    parent: i32,
    name: String,
    ended: bool,
}

/// All that lives below this process, however deep. Whatever lost its parent is this one's child by now, so that there is
/// nothing where only `leader` is, which has ended; all processes are looked at only where there is something.
pub(super) fn look(leader: Pid) -> LeftBehind {
    if children::list().iter().all(|&child| child == leader) {
        return LeftBehind::default();
    }
    below(getpid(), &all())
}

fn below(root: Pid, processes: &[Process]) -> LeftBehind {
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut left = LeftBehind::default();
    let mut open = vec![root.as_raw()];
    while let Some(parent) = open.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            open.push(process.pid);
            if process.ended {
                continue;
            }
            left.number += 1;
            if left.names.len() < NAMED {
                left.names.push(process.name.clone());
            }
        }
    }
    left
}

fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(entry.path().join("stat")).ok()?;
            parse(pid, &String::from_utf8_lossy(&stat))
        })
        .collect()
}

/// "pid (name) state ppid ...", where the name may hold anything.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut after = after.split_ascii_whitespace();
    let ended = after.next()? == ZOMBIE;
    let readable = |letter: char| {
        if letter.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            letter
        }
    };
    Some(Process {
        pid,
        parent: after.next()?.parse().ok()?,
        name: name.chars().map(readable).collect(),
        ended,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stats: &[&str]) -> String {
        let processes: Vec<Process> = stats
            .iter()
            .map(|stat| {
                let pid = stat.split(' ').next().unwrap().parse().unwrap();
                parse(pid, stat).unwrap()
            })
            .collect();
        below(Pid::from_raw(7), &processes).to_string()
    }

    #[test]
    fn what_lives_below_is_named() {
        let one = of(&[
            "1 (init) S 0 1",
            "7 (guard) S 1 7",
            "8 (sh) Z 7 8",
            "9 (a) b\n) S 8 8",
            "10 (other) S 1 10",
        ]);
        assert_eq!(one, "a process was left behind and ended: a) b\u{fffd}");
        let ten: Vec<String> = (10..20).map(|pid| format!("{pid} (p) S 7 7")).collect();
        let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
        assert_eq!(
            of(&ten),
            "10 processes were left behind and ended: p, p, p, p, p, p, p, p, and 2 more"
        );
        assert_eq!(below(Pid::from_raw(7), &[]), LeftBehind::default());
    }

    #[test]
    fn a_look_at_this_machine_finds_a_child() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let found = look(getpid());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.number >= 1, "{found:?}");
    }
}
