//! What `/proc` says of processes and of the machine. Only reads; whatever is gone meanwhile is left out.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Linux counts a process's CPU in hundredths of a second for user space, on every architecture.
const MICROS_A_TICK: u64 = 10_000;

/// One line of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub parent: u32,
    /// Own CPU and that of children that have ended and were waited for.
    pub cpu_micros: u64,
}

pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name stands in parentheses and may hold anything, parentheses and blanks included.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Field 3 of proc(5), the state, is the first one here.
    let field = |number: usize| fields.get(number - 3);
    let mut ticks = 0;
    for number in 14..=17 {
        ticks += field(number)?.parse::<u64>().ok()?;
    }
    Some(Stat {
        parent: field(4)?.parse().ok()?,
        cpu_micros: ticks * MICROS_A_TICK,
    })
}

/// A process and all that descend from it, with its CPU in microseconds. Nothing is counted twice: a process's time
/// moves to its parent when it was waited for.
pub fn tree(root: u32) -> Vec<(u32, u64)> {
    let all = all();
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, stat) in &all {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut open = vec![root];
    let mut found = Vec::new();
    while let Some(pid) = open.pop() {
        let Some(stat) = all.get(&pid) else { continue };
        found.push((pid, stat.cpu_micros));
        open.extend(children.get(&pid).into_iter().flatten());
    }
    found
}

fn all() -> HashMap<u32, Stat> {
    pids()
        .into_iter()
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect()
}

fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// A size of `/proc/PID/status` in KiB: `VmHWM` (the most that was resident) or `VmRSS`.
pub fn status_kib(pid: u32, name: &str) -> Option<u64> {
    parse_status(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        name,
    )
}

fn parse_status(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Lets `VmHWM` start anew. Where that is not allowed, it stays what it was since the process started.
pub fn reset_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// The load averages of 1, 5 and 15 minutes.
pub fn load_average() -> Option<[f64; 3]> {
    parse_load(&fs::read_to_string("/proc/loadavg").ok()?)
}

fn parse_load(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

/// The process that listens on a TCP port of this machine.
pub fn listener(port: u16) -> Option<u32> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| listening_inodes(&text, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let mut pids = pids();
    pids.sort_unstable();
    pids.into_iter()
        .find(|pid| holds(Path::new(&format!("/proc/{pid}/fd")), &inodes))
}

fn holds(folder: &Path, sockets: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| sockets.iter().any(|socket| target == Path::new(socket)))
}

fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&port) && fields[3] == LISTEN)
        .map(|fields| fields[9].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_is() {
        let line = "4242 (a ) b) (c) S 17 1 1 0 -1 4194560 1 2 0 0 120 30 7 3 20 0 5 0 99 1 1";
        let expected = Stat {
            parent: 17,
            cpu_micros: 160 * MICROS_A_TICK,
        };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("4242 (x) S 17"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn sizes_are_read_from_a_status() {
        let text = "Name:\tx\nVmHWM:\t   1234 kB\nVmRSS:\t  99 kB\n";
        assert_eq!(parse_status(text, "VmHWM"), Some(1234));
        assert_eq!(parse_status(text, "VmRSS"), Some(99));
        assert_eq!(parse_status(text, "Vm"), None);
    }

    #[test]
    fn listeners_are_told_from_connections() {
        let table = "  sl  local_address rem_address   st tx rx tr tm retr uid timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 777 1\n\
             1: 0100007F:1F90 0100007F:9999 01 0:0 00:0 0 0 0 778 1\n\
             2: 0100007F:1F91 00000000:0000 0A 0:0 00:0 0 0 0 779 1\n";
        assert_eq!(listening_inodes(table, 8080), ["777"]);
        assert!(listening_inodes(table, 80).is_empty());
    }

    #[test]
    fn load_averages_are_read() {
        assert_eq!(
            parse_load("0.50 1.25 2.00 1/234 567\n"),
            Some([0.5, 1.25, 2.0])
        );
        assert_eq!(parse_load("x"), None);
    }

    #[test]
    fn this_process_is_found() {
        let me = std::process::id();
        assert!(stat(me).is_some());
        assert!(status_kib(me, "VmHWM").unwrap() > 0);
        assert_eq!(tree(me)[0].0, me);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(port), Some(me));
    }
}
