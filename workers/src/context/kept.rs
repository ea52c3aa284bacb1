//! The files that a run leaves: first the bytes, then the row that names them, so that no row is without its bytes.

use std::path::Path;
use std::sync::atomic::Ordering;

use application::ports::{BlobError, HandlerError, Interruption, Report};
use domain::{Artifact, ArtifactId, JobError};
use sha2::{Digest as _, Sha256};

use super::JobContext;

/// Files kept of one run.
const ARTIFACTS: u32 = 200;

impl JobContext {
    pub(super) async fn store_file(
        &self,
        name: &str,
        media_type: &str,
        path: &Path,
    ) -> Result<(), HandlerError> {
        let (bytes, sha256) = digest(path).await.map_err(|error| {
            let message = format!("the file `{name}` cannot be read to be kept: {error}");
            HandlerError::Fail(JobError::new("FILE_NOT_KEPT", message))
        })?;
        let artifact = self.new_artifact(name, media_type, bytes, sha256)?;
        let blobs = &self.worker.ports.blobs;
        let put = blobs.put_file(self.tenant, artifact.id, path);
        put.await.map_err(|error| not_stored(name, &error))?;
        self.record(artifact).await
    }

    pub(super) async fn store_bytes(
        &self,
        name: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<(), HandlerError> {
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let artifact = self.new_artifact(name, media_type, bytes.len() as u64, sha256)?;
        let put = self.worker.ports.blobs.put(self.tenant, artifact.id, bytes);
        put.await.map_err(|error| not_stored(name, &error))?;
        self.record(artifact).await
    }

    fn new_artifact(
        &self,
        name: &str,
        media_type: &str,
        bytes: u64,
        sha256: String,
    ) -> Result<Artifact, HandlerError> {
        let one_more = |files| (files < ARTIFACTS).then_some(files + 1);
        let counted = self
            .files
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if counted.is_err() {
            let message =
                format!("`{name}` was not kept: a run may keep at most {ARTIFACTS} files");
            return Err(HandlerError::Fail(JobError::new("TOO_MANY_FILES", message)));
        }
        let now = self.worker.ports.clock.now();
        Ok(Artifact {
            id: ArtifactId::from_uuid(self.worker.ports.ids.next(now)),
            attempt: self.attempt,
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            bytes,
            sha256,
            created_at: now,
        })
    }

    async fn record(&self, artifact: Artifact) -> Result<(), HandlerError> {
        let report = Report {
            artifacts: vec![artifact],
            ..self.empty_report()
        };
        if self.write(report).await {
            Ok(())
        } else {
            Err(HandlerError::Interrupted(Interruption::LeaseLost))
        }
    }
}

fn not_stored(name: &str, error: &BlobError) -> HandlerError {
    let message = format!("the file `{name}` could not be kept: {error}");
    HandlerError::Retry(JobError::new("ARTIFACT_STORE_FAILED", message))
}

/// Size and SHA-256 of a file, read in pieces.
async fn digest(path: &Path) -> std::io::Result<(u64, String)> {
    let path = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || {
        let mut hasher = Sha256::new();
        let bytes = std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
        Ok((bytes, hex::encode(hasher.finalize())))
    });
    hashing.await.map_err(std::io::Error::other)?
}
