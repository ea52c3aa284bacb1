//! The folder of a run that is not its worktree: a home, a place for temporary files, and what the worker hands over.
//!
//! It lies beside the run's directory as `private`, so that nothing in it ends up in a diff, and it goes when the
//! workspace goes. A run starts several programs in it, one after the other (its agent, `verify`, a next round), each of
//! which can leave anything there. So nothing that is there is followed: a link in the place of a folder would be mounted,
//! and one in the place of a file be written through, by the worker.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use application::ports::HandlerError;

use crate::failure;
use crate::isolation::Confined;
use crate::workspace::borrowed_objects;
use crate::workspace::folder::remove_tree;

#[derive(Debug, Clone)]
pub struct PrivateFolder {
    root: PathBuf,
}

impl PrivateFolder {
    /// Where it is for a run that works in `directory`.
    pub fn beside(directory: &Path) -> Self {
        Self {
            root: directory.with_file_name("private"),
        }
    }

    /// Makes the folders; readable by the worker's user alone.
    pub fn create(&self) -> Result<(), HandlerError> {
        for folder in [self.root.clone(), self.home(), self.temporary()] {
            own_folder(&folder)
                .map_err(|error| failure::io("create the folder", &folder, &error))?;
        }
        Ok(())
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file that only the worker's user can read; returns its path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, HandlerError> {
        let path = self.file(name);
        let create = || {
            let mut options = File::options();
            options.write(true).create_new(true).mode(0o600);
            options.open(&path)
        };
        clear(&path)
            .and_then(|()| create())
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|error| failure::io("write the file", &path, &error))?;
        Ok(path)
    }

    /// `HOME` and `TMPDIR`.
    pub fn variables(&self) -> [(OsString, OsString); 2] {
        [
            ("HOME".into(), self.home().into()),
            ("TMPDIR".into(), self.temporary().into()),
        ]
    }

    /// What a run in `directory` may touch: that folder and this one, and the commits that its repository borrows.
    pub fn confine(&self, directory: &Path) -> Confined {
        Confined {
            tree: directory.to_owned(),
            private: self.root.clone(),
            readable: borrowed_objects(directory).into_iter().collect(),
            ..Confined::default()
        }
    }

    fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

/// A folder for the worker's user alone. What is in its place and is none goes.
pub(crate) fn own_folder(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        _ => clear(path)?,
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes whatever is there, without following it.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => remove_tree(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_that_a_run_left_is_followed() {
        let base = tempfile::tempdir().unwrap();
        let far = base.path().join("far");
        fs::create_dir(&far).unwrap();
        fs::write(far.join("keys"), "theirs").unwrap();
        let private = PrivateFolder::beside(&base.path().join("run/tree"));
        private.create().unwrap();
        fs::remove_dir(private.temporary()).unwrap();
        symlink(&far, private.temporary()).unwrap();
        symlink(far.join("keys"), private.file("prompt.txt")).unwrap();
        symlink(far.join("none"), private.file("checkpoint.json")).unwrap();
        fs::create_dir(private.file("feedback.txt")).unwrap();

        private.create().unwrap();
        for name in ["prompt.txt", "checkpoint.json", "feedback.txt"] {
            let path = private.write(name, b"ours").unwrap();
            let there = fs::symlink_metadata(&path).unwrap();
            assert!(there.is_file(), "{name}");
            assert_eq!(fs::read(path).unwrap(), b"ours");
        }
        let temporary = fs::symlink_metadata(private.temporary()).unwrap();
        assert!(temporary.is_dir());
        assert_eq!(fs::read(far.join("keys")).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(&far).unwrap().count(), 1);
    }

    /// Nobody reads from it, so that writing to it would never come back.
    #[test]
    fn a_pipe_in_the_place_of_a_file_keeps_nobody() {
        let base = tempfile::tempdir().unwrap();
        let private = PrivateFolder::beside(&base.path().join("tree"));
        private.create().unwrap();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&private.file("prompt.txt"), mode).unwrap();
        let path = private.write("prompt.txt", b"ours").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"ours");
    }
}
