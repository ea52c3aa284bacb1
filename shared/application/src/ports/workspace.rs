//! Where a run works: a folder of its own that is gone when the run is.

use std::path::Path;

use async_trait::async_trait;
use domain::{DiffStat, JobId, Pushed, Repository};

use super::HandlerError;

#[async_trait]
pub trait Workspaces: Send + Sync {
    /// A fresh worktree of the repository at its revision, or an empty folder. A missing repository or revision, or
    /// one outside the configured roots, is a permanent failure with the reason in words.
    async fn open(
        &self,
        job: JobId,
        attempt: u32,
        repository: Option<&Repository>,
    ) -> Result<Box<dyn Workspace>, HandlerError>;

    /// The one name of the branch or tag that `repository` means, whatever words it is named by: what exclusive
    /// sessions take turns at. Fails like `open`, and for a bare commit, which is on any number of branches.
    async fn branch(&self, repository: &Repository) -> Result<String, HandlerError>;
}

#[async_trait]
pub trait Workspace: Send + Sync {
    fn directory(&self) -> &Path;

    /// What changed since the revision, new files included. `None` without a repository.
    async fn diff(&self) -> Result<Option<Diff>, HandlerError>;

    /// Applies a patch that `diff` gave on a tree of the same revision.
    async fn apply(&self, patch: &[u8]) -> Result<(), HandlerError>;

    /// Commits what changed since the revision, as one commit on top of it, and pushes it to the repository. `None`:
    /// nothing changed, or there is no repository. A branch that has anything but an earlier commit of this same job is
    /// left alone, which is a permanent failure.
    async fn push(&self, order: &PushOrder) -> Result<Option<Pushed>, HandlerError>;

    /// Removes the folder and all that git knows of it.
    async fn close(self: Box<Self>);
}

/// What to push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushOrder {
    pub job: JobId,
    pub branch: String,
    /// Of the commit.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    pub stat: DiffStat,
    /// Unified, git's own form, binary files included.
    pub patch: Vec<u8>,
    /// False when parts had to be left out of the patch, which its end says.
    pub is_complete: bool,
    /// The commit that it is against.
    pub base: String,
}
