//! Carries a session's uncommitted changes over a pause, to whichever worker goes on.
//!
//! What a paused run had changed is kept as a patch on the commit that it started from; the next run starts from that
//! commit, with the patch applied. Files that the repository ignores are not in it, and a session without a repository
//! keeps nothing.

use application::ports::{Diff, HandlerError, RunContext as _, Workspace};
use domain::{Job, JobError, LogStream, PATCH_ARTIFACT, Repository};
use futures::StreamExt as _;

use crate::context::JobContext;
use crate::life::Worker;
use crate::patient;

/// Begins the patch, which git takes for the words before one.
const BASE: &str = "# base: ";

/// What a paused run left.
pub(super) struct Kept {
    base: String,
    patch: Vec<u8>,
}

impl Kept {
    /// The repository, at the commit that the run started from.
    pub(super) fn at_base(&self, repository: &Repository) -> Repository {
        Repository {
            reference: self.base.clone(),
            ..repository.clone()
        }
    }

    pub(super) async fn apply(
        &self,
        workspace: &dyn Workspace,
        context: &JobContext,
    ) -> Result<(), HandlerError> {
        workspace.apply(&self.patch).await?;
        let line = "goes on with the changes of the run that was paused\n";
        context.log(LogStream::System, line).await;
        Ok(())
    }
}

pub(super) async fn keep(diff: &Diff, context: &JobContext) -> Result<(), HandlerError> {
    if !diff.is_complete {
        let line = "not all changes are kept over the pause: see the end of the diff\n";
        context.log(LogStream::System, line).await;
    }
    let mut patch = format!("{BASE}{}\n", diff.base).into_bytes();
    patch.extend_from_slice(&diff.patch);
    context.keep(PATCH_ARTIFACT, "text/x-diff", patch).await
}

/// Of the latest run that was paused.
pub(super) async fn latest(worker: &Worker, job: &Job) -> Result<Option<Kept>, HandlerError> {
    if job.attempt <= 1 {
        return Ok(None);
    }
    let (jobs, tenant, id) = (&worker.ports.jobs, job.tenant, job.id);
    let artifacts = patient::read("what a session keeps", || jobs.artifacts(tenant, id));
    let artifacts = artifacts
        .await
        .map_err(|error| not_read(&error.to_string()))?;
    let found = artifacts
        .into_iter()
        .flatten()
        .rfind(|it| it.name == PATCH_ARTIFACT);
    let Some(artifact) = found else {
        return Ok(None);
    };
    let blob = worker.ports.blobs.get(job.tenant, artifact.id).await;
    let blob = blob.map_err(|error| not_read(&error.to_string()))?;
    let mut stream = blob.ok_or_else(|| not_read("its file is gone"))?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend(chunk.map_err(|error| not_read(&error.to_string()))?);
    }
    let end = bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .unwrap_or_default();
    let base = std::str::from_utf8(&bytes[..end])
        .ok()
        .and_then(|line| line.strip_prefix(BASE));
    let base = base
        .ok_or_else(|| not_read("it does not name its commit"))?
        .to_owned();
    Ok(Some(Kept {
        base,
        patch: bytes.split_off(end + 1),
    }))
}

fn not_read(why: &str) -> HandlerError {
    let message = format!("the changes of the run that was paused could not be read: {why}");
    HandlerError::Retry(JobError::new("PATCH_NOT_READ", message))
}
