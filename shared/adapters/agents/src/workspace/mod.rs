//! Where runs work: a checkout of their own for each run of a session with a repository, an empty folder for others.
//!
//! The user's repository is only ever read, but for the branch that a session asks to be pushed: what a run needs is fetched into a bare mirror of ours, one a repository,
//! and each run gets a small repository of its own that borrows the mirror's objects. A linked worktree of the mirror
//! would share branches, stash and configuration among all runs of a repository; this way one run's `git branch` or
//! `git config` means nothing to another, or to us. Uncommitted changes of the user's checkout are not seen by runs.
//!
//! Layout below the base folder:
//!
//! ```text
//! mirrors/<hash>.git      commits that runs started from, one folder a repository
//! runs/<job>-<attempt>    tree (where the run works), private (home, temporary files), diff (what comparing needs)
//! runs/<job>-<attempt>.lock   held by the worker while the run lives
//! ```

mod diff;
pub(crate) mod folder;
mod git;
mod inner;
mod mirror;
mod patch;
mod push;
mod roots;
mod storage;
mod tree;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use application::ports::{Diff, HandlerError, PushOrder, Workspace, Workspaces};
use async_trait::async_trait;
use domain::{JobId, Pushed, Repository};

pub use push::{Author, NotAnAuthor};
pub use roots::{Roots, RootsError};

use crate::environment::Environment;
use crate::failure;
use folder::RunFolder;
use git::Git;
use mirror::{Mirrors, Source};
use tree::Checkout;

/// The folder of all mirrors, below the base folder.
const MIRRORS: &str = "mirrors";
/// Beside a run's tree, where it has no business: what comparing needs.
const COMPARING: &str = "diff";
/// A file there: the folder of objects that the run's repository borrows.
const BORROWED: &str = "borrowed";

/// Checkouts with git, below one base folder. Several workers may share the folder.
pub struct GitWorkspaces {
    runs: PathBuf,
    roots: Roots,
    git: Arc<Git>,
    /// For what looks into the trees of runs.
    looks: Arc<Git>,
    mirrors: Mirrors,
    author: Author,
}

impl GitWorkspaces {
    pub fn new(base: &Path, roots: Roots, environment: &Environment) -> Self {
        // Paths are handed to programs that work in other folders. An empty one fails at the first use, in words.
        let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
        let git = Arc::new(Git::new(environment.path()));
        Self {
            runs: base.join("runs"),
            roots,
            mirrors: Mirrors::new(base.join(MIRRORS), Arc::clone(&git)),
            git,
            looks: Arc::new(Git::for_trees(environment.path())),
            author: Author::default(),
        }
    }

    /// Who the commits are by that sessions push.
    #[must_use]
    pub fn with_author(self, author: Author) -> Self {
        Self { author, ..self }
    }

    /// Removes what runs of dead workers left; returns how many. Folders of living runs are locked and stay.
    pub async fn sweep(&self) -> io::Result<usize> {
        let runs = self.runs.clone();
        let swept = tokio::task::spawn_blocking(move || folder::sweep(&runs));
        swept.await.map_err(io::Error::other)?
    }

    async fn check_out(
        &self,
        source: Option<Source>,
        folder: &RunFolder,
    ) -> Result<Option<Checkout>, HandlerError> {
        let Some(source) = source else {
            return Ok(None);
        };
        let mirror = self.mirrors.fetch(&source).await?;
        let git = (Arc::clone(&self.git), Arc::clone(&self.looks));
        Checkout::create(git, mirror, folder, source)
            .await
            .map(Some)
    }

    async fn make_folder(&self, job: JobId, attempt: u32) -> Result<RunFolder, HandlerError> {
        let (runs, name) = (self.runs.clone(), format!("{job}-{attempt}"));
        let made = tokio::task::spawn_blocking(move || RunFolder::create(&runs, &name));
        made.await
            .map_err(|error| failure::retry("WORKER_FILES", error.to_string()))?
    }
}

#[async_trait]
impl Workspaces for GitWorkspaces {
    async fn open(
        &self,
        job: JobId,
        attempt: u32,
        repository: Option<&Repository>,
    ) -> Result<Box<dyn Workspace>, HandlerError> {
        // Refused before anything is made.
        let source = match repository {
            Some(repository) => Some(self.mirrors.locate(repository, &self.roots).await?),
            None => None,
        };
        let folder = self.make_folder(job, attempt).await?;
        match self.check_out(source, &folder).await {
            Ok(checkout) => Ok(Box::new(RunWorkspace {
                folder,
                checkout,
                author: self.author.clone(),
            })),
            Err(error) => {
                folder.remove().await;
                Err(error)
            }
        }
    }

    async fn branch(&self, repository: &Repository) -> Result<String, HandlerError> {
        let source = self.mirrors.locate(repository, &self.roots).await?;
        self.mirrors.branch(&source, repository).await
    }
}

/// The folder of the mirror that the repository in a run's `directory` borrows objects from, as its checkout noted it. What
/// the repository itself says of that is the run's to write: it could name another tenant's mirror.
pub(crate) fn borrowed_objects(directory: &Path) -> Option<PathBuf> {
    let note = directory.with_file_name(COMPARING).join(BORROWED);
    let objects = std::fs::read(note).ok()?;
    PathBuf::from(OsString::from_vec(objects))
        .canonicalize()
        .ok()
}

struct RunWorkspace {
    folder: RunFolder,
    checkout: Option<Checkout>,
    author: Author,
}

#[async_trait]
impl Workspace for RunWorkspace {
    fn directory(&self) -> &Path {
        self.folder.tree()
    }

    async fn diff(&self) -> Result<Option<Diff>, HandlerError> {
        match &self.checkout {
            Some(checkout) => checkout.diff().await.map(Some),
            None => Ok(None),
        }
    }

    async fn apply(&self, patch: &[u8]) -> Result<(), HandlerError> {
        match &self.checkout {
            Some(checkout) => checkout.apply(patch).await,
            None => Ok(()),
        }
    }

    async fn push(&self, order: &PushOrder) -> Result<Option<Pushed>, HandlerError> {
        match &self.checkout {
            Some(checkout) => checkout.push(order, &self.author).await,
            None => Ok(None),
        }
    }

    async fn close(self: Box<Self>) {
        self.folder.remove().await;
    }
}
