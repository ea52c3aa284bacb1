//! A run's own repository: its objects borrowed from the mirror, its refs and configuration its own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use application::ports::HandlerError;

use super::folder::{RunFolder, private_folder};
use super::git::Git;
use super::mirror::Source;
use super::{BORROWED, COMPARING};
use crate::failure;

pub(super) struct Checkout {
    pub(super) git: Arc<Git>,
    /// For what looks into the tree, where the run may have left anything.
    pub(super) looks: Arc<Git>,
    pub(super) mirror: PathBuf,
    pub(super) tree: PathBuf,
    /// What comparing needs, where the run has no business.
    pub(super) diff: PathBuf,
    /// The commit that the run starts from.
    pub(super) base: String,
    /// The user's own.
    pub(super) repository: PathBuf,
}

impl Checkout {
    pub(super) async fn create(
        (git, looks): (Arc<Git>, Arc<Git>),
        mirror: PathBuf,
        folder: &RunFolder,
        source: Source,
    ) -> Result<Self, HandlerError> {
        let checkout = Self {
            git,
            looks,
            mirror,
            tree: folder.tree().to_owned(),
            diff: folder.beside(COMPARING),
            base: source.commit,
            repository: source.repository,
        };
        checkout.init().await?;
        checkout.borrow()?;
        let mut command = checkout.git.command();
        command
            .current_dir(&checkout.tree)
            .args(["checkout", "--quiet", "--detach"])
            .arg(&checkout.base);
        let what = "check the revision out";
        checkout.git.run(command, what, &checkout.tree).await?;
        checkout.remember_index()?;
        Ok(checkout)
    }

    async fn init(&self) -> Result<(), HandlerError> {
        let format = if self.base.len() == 64 {
            "sha256"
        } else {
            "sha1"
        };
        let mut command = self.git.command();
        command
            .args(["init", "--quiet", "--template=", "--initial-branch=main"])
            .arg(format!("--object-format={format}"))
            .arg(&self.tree);
        let what = "create the run's repository";
        self.git.run(command, what, &self.tree).await
    }

    fn borrow(&self) -> Result<(), HandlerError> {
        let own = self.tree.join(".git");
        let alternates = own.join("objects/info/alternates");
        let objects_of_mirror = self.mirror.join("objects");
        let mut objects = objects_of_mirror.clone().into_os_string();
        objects.push("\n");
        fs::create_dir_all(own.join("objects/info"))
            .and_then(|()| fs::write(&alternates, objects.as_encoded_bytes()))
            .map_err(|error| failure::io("write", &alternates, &error))?;
        self.note(objects_of_mirror.as_os_str())?;
        // Where the user's repository is shallow, so is the mirror, and so is this.
        copy_if_there(&self.mirror.join("shallow"), &own.join("shallow"))
    }

    /// Notes what the run borrows, for programs that are to see it.
    fn note(&self, objects: &OsStr) -> Result<(), HandlerError> {
        let note = self.diff.join(BORROWED);
        private_folder(&self.diff)
            .and_then(|()| fs::write(&note, objects.as_encoded_bytes()))
            .map_err(|error| failure::io("write", &note, &error))
    }

    /// Keeps the index of the checkout: comparing then reads changed files only.
    fn remember_index(&self) -> Result<(), HandlerError> {
        private_folder(&self.diff.join("objects"))
            .map_err(|error| failure::io("create the folder", &self.diff, &error))?;
        copy_if_there(&self.tree.join(".git/index"), &self.diff.join("index"))
    }
}

fn copy_if_there(from: &Path, to: &Path) -> Result<(), HandlerError> {
    match fs::copy(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failure::io("write", to, &error))
        }
        _ => Ok(()),
    }
}
