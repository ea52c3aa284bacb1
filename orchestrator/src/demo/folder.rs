//! The demo's own folder, gone when the demo is.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub struct Folder(PathBuf);

impl Folder {
    /// In the system's folder for temporary files, for this user alone.
    pub fn create() -> anyhow::Result<Self> {
        let parent = std::env::temp_dir();
        let name = format!(
            "orchestrator-demo-{}-{:08x}",
            std::process::id(),
            fastrand::u32(..)
        );
        let path = parent.join(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("{} cannot be made", path.display()))?;
        // A path without links, as the roots need it.
        Ok(Self(path.canonicalize()?))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "the demo's folder is left behind");
        }
    }
}
