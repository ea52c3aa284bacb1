//! The folder of a run that is not its worktree: a home, a place for temporary files, and what the worker hands over.
//!
//! It lies beside the run's directory as `private`, so that nothing in it ends up in a diff, and it goes when the
//! workspace goes.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use application::ports::HandlerError;

use crate::failure;
use crate::isolation::Confined;
use crate::workspace::borrowed_objects;

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
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
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
        fs::write(&path, bytes)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o600)))
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
