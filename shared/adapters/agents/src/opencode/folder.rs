//! What a server keeps of a job's conversation, one folder a job, beyond a single run: so that a later run on this worker
//! goes on with it. Never holds keys.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use application::ports::HandlerError;
use domain::JobId;

use crate::failure;
use crate::workspace::folder::{LOCK_SUFFIX, lock, private_folder, remove_tree};

/// A job that has not run again on this worker for so long does not need its conversation here.
const KEPT: Duration = Duration::from_hours(24);

/// As long as any, so that a shorter number overwrites all of a longer one.
const NUMBER_BYTES: usize = 10;

/// Held by one run at a time.
///
/// The lock file lies beside the folder, where the job's own programs cannot write. Its age is the conversation's; it says
/// which handover the conversation comes from, or was last given in.
pub(super) struct JobFolder {
    root: PathBuf,
    /// No run of the job was here before.
    pub is_new: bool,
    /// The attempt whose handover the conversation here has in it, and perhaps more; absent when there was none.
    pub handover: Option<u32>,
    lock_path: PathBuf,
    lock: File,
}

impl JobFolder {
    /// The job's own; or an empty one for this attempt alone, should a run of this machine still hold that.
    pub(super) fn open(parent: &Path, job: JobId, attempt: u32) -> Result<Self, HandlerError> {
        private_folder(parent).map_err(|error| failure::io("create the folder", parent, &error))?;
        for name in [job.to_string(), format!("{job}-{attempt}")] {
            let root = parent.join(&name);
            let lock_path = parent.join(format!("{name}{LOCK_SUFFIX}"));
            let taken =
                lock(&lock_path).map_err(|error| failure::io("lock", &lock_path, &error))?;
            let Some(held) = taken else {
                continue;
            };
            let is_new = !root.exists();
            let handover = noted(&held);
            let made = note(&held, handover).and_then(|()| private_folder(&root));
            made.map_err(|error| failure::io("create the folder", &root, &error))?;
            return Ok(Self {
                root,
                is_new,
                handover,
                lock_path,
                lock: held,
            });
        }
        Err(failure::retry(
            "WORKSPACE_BUSY",
            format!(
                "{} is still in use by another run",
                parent.join(job.to_string()).display()
            ),
        ))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Forgets the conversation that is here.
    pub(super) fn clear(&self) -> Result<(), HandlerError> {
        let cleared = remove_tree(&self.root).and_then(|()| private_folder(&self.root));
        cleared.map_err(|error| failure::io("empty the folder", &self.root, &error))
    }

    /// The conversation here is that of the handover of `attempt`.
    pub(super) fn note_handover(&self, attempt: u32) {
        if let Err(error) = note(&self.lock, Some(attempt)) {
            tracing::warn!(folder = %self.root.display(), %error, "a handover was not noted");
        }
    }

    /// Where the server keeps its things.
    pub(super) fn variables(&self) -> [(OsString, OsString); 4] {
        [
            ("XDG_DATA_HOME", "data"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
        ]
        .map(|(name, part)| (name.into(), self.root.join(part).into()))
    }

    /// The conversation is over for good.
    pub(super) fn remove(self) {
        let removed = remove_tree(&self.root).and_then(|()| fs::remove_file(&self.lock_path));
        if let Err(error) = removed {
            tracing::warn!(folder = %self.root.display(), %error, "a conversation was not removed");
        }
    }
}

/// Removes the job's own folder, unless a run holds it.
pub(super) fn forget(parent: &Path, job: JobId) {
    let root = parent.join(job.to_string());
    if !root.exists() {
        return;
    }
    let lock_path = parent.join(format!("{job}{LOCK_SUFFIX}"));
    match lock(&lock_path) {
        Ok(Some(held)) => JobFolder {
            root,
            lock_path,
            is_new: false,
            handover: None,
            lock: held,
        }
        .remove(),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(folder = %root.display(), %error, "a conversation was not removed");
        }
    }
}

/// The file system's own clock says when.
fn note(lock: &File, handover: Option<u32>) -> io::Result<()> {
    let number = handover.map_or_else(String::new, |number| number.to_string());
    lock.write_all_at(format!("{number:<NUMBER_BYTES$}\n").as_bytes(), 0)
}

fn noted(lock: &File) -> Option<u32> {
    let mut bytes = [0; NUMBER_BYTES];
    let read = lock.read_at(&mut bytes, 0).ok()?;
    std::str::from_utf8(&bytes[..read])
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Removes what no run has used for a day; returns how many.
pub(super) fn sweep(parent: &Path) -> io::Result<usize> {
    sweep_older_than(parent, KEPT)
}

fn sweep_older_than(parent: &Path, age: Duration) -> io::Result<usize> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut swept = 0;
    for entry in entries {
        let lock_path = entry?.path();
        if !lock_path.to_string_lossy().ends_with(LOCK_SUFFIX) {
            continue;
        }
        // A clock that was set back makes it young.
        let modified = fs::metadata(&lock_path).and_then(|it| it.modified());
        let idle = modified.is_ok_and(|at| at.elapsed().is_ok_and(|idle| idle >= age));
        if !idle {
            continue;
        }
        let Some(held) = lock(&lock_path)? else {
            continue;
        };
        let folder = JobFolder {
            root: lock_path.with_extension(""),
            is_new: false,
            lock_path,
            handover: None,
            lock: held,
        };
        folder.remove();
        swept += 1;
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u128) -> JobId {
        JobId::from_uuid(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_job_finds_its_folder_again_and_nobody_else_has_it_meanwhile() {
        let base = tempfile::tempdir().unwrap();
        let first = JobFolder::open(base.path(), job(1), 1).unwrap();
        assert!(first.is_new);
        let root = first.root.clone();
        fs::write(root.join("kept"), "x").unwrap();
        let beside = JobFolder::open(base.path(), job(1), 2).unwrap();
        assert_ne!(beside.root, root);
        beside.remove();
        assert_eq!(first.handover, None);
        for attempt in [12, 3] {
            first.note_handover(attempt);
        }
        drop(first);
        let again = JobFolder::open(base.path(), job(1), 3).unwrap();
        assert!(again.root.join("kept").exists() && !again.is_new);
        assert_eq!(again.handover, Some(3));
        again.clear().unwrap();
        assert!(again.root.is_dir() && !again.root.join("kept").exists());
        again.remove();
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_run_left_is_forgotten_when_no_other_goes_on() {
        let base = tempfile::tempdir().unwrap();
        let held = JobFolder::open(base.path(), job(1), 1).unwrap();
        forget(base.path(), job(1));
        assert!(held.root.is_dir());
        drop(held);
        forget(base.path(), job(1));
        forget(base.path(), job(2));
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_sweep_takes_old_ones_that_nobody_holds() {
        let base = tempfile::tempdir().unwrap();
        let held = JobFolder::open(base.path(), job(1), 1).unwrap();
        drop(JobFolder::open(base.path(), job(2), 1).unwrap());
        assert_eq!(sweep(base.path()).unwrap(), 0);
        assert_eq!(sweep_older_than(base.path(), Duration::ZERO).unwrap(), 1);
        assert!(held.root.is_dir());
        assert_eq!(sweep(&base.path().join("none")).unwrap(), 0);
    }
}
