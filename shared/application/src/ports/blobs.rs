use std::path::Path;

use async_trait::async_trait;
use domain::{ArtifactId, TenantId};
use futures::stream::BoxStream;

/// The bytes of artifacts. Keyed by tenant first, so that one tenant's id never reaches another's bytes.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores the file at `path`, streaming; what is stored is whole or not there.
    async fn put_file(
        &self,
        tenant: TenantId,
        artifact: ArtifactId,
        path: &Path,
    ) -> Result<(), BlobError>;

    async fn put(
        &self,
        tenant: TenantId,
        artifact: ArtifactId,
        bytes: Vec<u8>,
    ) -> Result<(), BlobError>;

    /// `Ok(None)`: no such blob.
    async fn get(
        &self,
        tenant: TenantId,
        artifact: ArtifactId,
    ) -> Result<Option<BoxStream<'static, Result<Vec<u8>, BlobError>>>, BlobError>;
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("the artifact store failed: {0}")]
pub struct BlobError(pub String);
