//! The folder of one run, and the lock that tells whether its worker lives.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use application::ports::HandlerError;

use crate::failure;

pub(crate) const LOCK_SUFFIX: &str = ".lock";
/// A lock file may vanish between opening and locking it, when a sweep is at it.
const LOCK_TRIES: u32 = 10;
/// How often, and how far apart, a run asks for the lock of its folder while a sweep may have it.
const SWEEP_LOOKS: u32 = 40;
const SWEEP_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Gone when this is: removed by [`RunFolder::remove`], or in the background if the run was dropped.
pub(super) struct RunFolder {
    tree: PathBuf,
    held: Option<Held>,
}

/// The lock lives as long as the file is open; the kernel drops it with the process.
struct Held {
    root: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl RunFolder {
    pub(super) fn create(runs: &Path, name: &str) -> Result<Self, HandlerError> {
        private_folder(runs).map_err(|error| failure::io("create the folder", runs, &error))?;
        let root = runs.join(name);
        let lock_path = runs.join(format!("{name}{LOCK_SUFFIX}"));
        let lock = lock_soon(&lock_path)
            .map_err(|error| failure::io("lock", &lock_path, &error))?
            .ok_or_else(|| {
                failure::retry(
                    "WORKSPACE_BUSY",
                    format!("{} is still in use by another worker", root.display()),
                )
            })?;
        let held = Held {
            root: root.clone(),
            lock_path,
            _lock: lock,
        };
        let tree = root.join("tree");
        let made = remove_tree(&root).and_then(|()| private_folder(&tree));
        made.map_err(|error| failure::io("create the folder", &tree, &error))?;
        Ok(Self {
            tree,
            held: Some(held),
        })
    }

    /// Where the run works.
    pub(super) fn tree(&self) -> &Path {
        &self.tree
    }

    /// A place beside the tree that the run has no business in.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.tree.with_file_name(name)
    }

    pub(super) async fn remove(mut self) {
        if let Some(held) = self.held.take() {
            let removal = tokio::task::spawn_blocking(move || held.remove());
            if let Err(error) = removal.await {
                tracing::warn!(%error, "a run's folder was not removed");
            }
        }
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        // Removing takes as long as the tree is large: not on a thread that runs other jobs.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || held.remove())),
            Err(_) => held.remove(),
        }
    }
}

impl Held {
    /// What cannot be removed now is left to the next sweep.
    fn remove(&self) {
        let removed = remove_tree(&self.root).and_then(|()| fs::remove_file(&self.lock_path));
        if let Err(error) = removed {
            tracing::warn!(folder = %self.root.display(), %error, "a run's folder was not removed");
        }
    }
}

/// Removes the folders below `runs` whose worker is dead; returns how many.
pub(super) fn sweep(runs: &Path) -> io::Result<usize> {
    let entries = match fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut swept = 0;
    for entry in entries {
        let path = entry?.path();
        let is_lock = path.to_string_lossy().ends_with(LOCK_SUFFIX);
        let root = if is_lock {
            path.with_extension("")
        } else {
            path
        };
        let lock_path = root.with_added_extension("lock");
        let Some(lock) = lock(&lock_path)? else {
            continue;
        };
        swept += usize::from(root.exists());
        let held = Held {
            root,
            lock_path,
            _lock: lock,
        };
        held.remove();
    }
    Ok(swept)
}

/// As [`lock`], and waits a moment where somebody holds it: a sweep locks what it finds, also what was made just now and is not
/// locked by its run yet. That is no reason to spend an attempt.
fn lock_soon(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..SWEEP_LOOKS {
        if let Some(file) = lock(path)? {
            return Ok(Some(file));
        }
        std::thread::sleep(SWEEP_LOOK_EVERY);
    }
    lock(path)
}

/// `Ok(None)`: somebody else holds it.
pub(crate) fn lock(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..LOCK_TRIES {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            // Unlinked since it was opened: another one may have been made in its place.
            Ok(()) if file.metadata()?.nlink() == 0 => {}
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a folder that may not be there, and that a run may have made read-only in parts.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        Ok(()) => Ok(()),
    }
}

/// Makes all folders below writable. Links are not followed.
fn open_up(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_dead_runs_and_leaves_living_ones() {
        let base = tempfile::tempdir().unwrap();
        let runs = base.path().join("runs");
        let alive = RunFolder::create(&runs, "alive-1").unwrap();
        fs::create_dir_all(runs.join("dead-1/tree")).unwrap();
        fs::write(runs.join("dead-1.lock"), "").unwrap();
        fs::create_dir_all(runs.join("unlocked-1/tree")).unwrap();
        assert_eq!(sweep(&runs).unwrap(), 2);
        assert!(alive.tree().is_dir());
        assert!(RunFolder::create(&runs, "alive-1").is_err());
        drop(alive);
        assert_eq!(fs::read_dir(&runs).unwrap().count(), 0);
        assert_eq!(sweep(&runs).unwrap(), 0);
    }

    /// As a worker that starts does, which sweeps while others begin their runs.
    #[test]
    fn a_run_waits_for_a_sweep_that_looks_at_its_folder() {
        let base = tempfile::tempdir().unwrap();
        let runs = base.path().join("runs");
        private_folder(&runs).unwrap();
        let look = lock(&runs.join("new-1.lock")).unwrap().expect("free");
        let create = std::thread::spawn(move || RunFolder::create(&runs, "new-1").is_ok());
        std::thread::sleep(SWEEP_LOOK_EVERY * 3);
        assert!(!create.is_finished());
        drop(look);
        assert!(create.join().unwrap());
    }

    #[test]
    fn read_only_folders_are_removed_too() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("module/cache");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o500)).unwrap();
        open_up(base.path()).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        remove_tree(&base.path().join("module")).unwrap();
        assert!(!base.path().join("module").exists());
    }
}
