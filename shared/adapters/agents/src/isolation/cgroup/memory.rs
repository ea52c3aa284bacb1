//! What the memory controller's files are called in either version, and what they are told. Knows nothing of runs.

use std::fs;
use std::io;
use std::path::Path;

use super::count;

/// How often the kernel killed a process of the group for its memory, in both versions.
pub(super) const KILLED: &str = "oom_kill";
/// Far below any limit that makes sense, and enough for an empty group.
const TRIAL_BYTES: u64 = 64 * 1024 * 1024;

/// The file that counts what was killed.
pub(super) const fn events(version: u8) -> &'static str {
    match version {
        1 => "memory.oom_control",
        _ => "memory.events",
    }
}

/// Before any process is in the group.
pub(super) fn limit(version: u8, group: &Path, bytes: u64) -> io::Result<()> {
    let write = |file: &str, text: &str| fs::write(group.join(file), text);
    let bytes = bytes.to_string();
    // A run that swaps holds the machine up for longer than one that ends. Absent without swap.
    if version == 1 {
        write("memory.limit_in_bytes", &bytes)?;
        let _ = write("memory.memsw.limit_in_bytes", &bytes);
        // The parent's choice is inherited; where processes are to wait, a run would stand still for ever.
        let control = fs::read_to_string(group.join(events(version)))?;
        if count(&control, "oom_kill_disable") != 0 {
            write(events(version), "0")?;
        }
        return Ok(());
    }
    write("memory.max", &bytes)?;
    let _ = write("memory.swap.max", "0");
    Ok(())
}

/// That a group can be limited, and that the kernel (from 4.13 on) tells when one was killed for it.
///
/// Of version 2 that is known: its files are there as soon as the controller is handed on, which only a worker does.
pub(super) fn try_out(version: u8, parent: &Path) -> Result<(), String> {
    if version != 1 {
        return Ok(());
    }
    super::try_out(parent, |trial| {
        limit(version, trial, TRIAL_BYTES)?;
        let text = fs::read_to_string(trial.join(events(version)))?;
        if text.lines().any(|line| line.starts_with(KILLED)) {
            return Ok(());
        }
        let words = format!("{} counts no `{KILLED}`", events(version));
        Err(io::Error::other(words))
    })
}
