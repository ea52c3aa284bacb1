//! The bytes of artifacts, in a folder of the local file system.
//!
//! One file an artifact, `<tenant>/<artifact>`, so that a tenant's id is part of every path. A file is written beside
//! its place, synced, and renamed: what can be read is whole, also after a power cut, and the row that names it is
//! written only after this returned. Nothing here decides who may read what.

use std::path::Path;
use std::sync::Arc;

use application::ports::{BlobError, Blobs};
use async_trait::async_trait;
use domain::{ArtifactId, TenantId};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{Error, ObjectStoreExt, WriteMultipart};
use tokio::io::AsyncReadExt;

/// How much of a file is in memory at once, times two: one part is filled while another is written.
const PART_BYTES: usize = 1024 * 1024;

#[derive(Debug, Clone)]
pub struct FolderBlobs {
    store: Arc<LocalFileSystem>,
}

impl FolderBlobs {
    /// Makes the folder where it is missing.
    pub fn open(folder: &Path) -> Result<Self, BlobError> {
        std::fs::create_dir_all(folder)
            .map_err(|error| BlobError(format!("{} cannot be made: {error}", folder.display())))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(&error))?;
        Ok(Self {
            store: Arc::new(store.with_fsync(true)),
        })
    }

    async fn copy_in(&self, key: &Key, path: &Path) -> Result<(), BlobError> {
        let unreadable = |error: std::io::Error| {
            BlobError(format!("{} cannot be read: {error}", path.display()))
        };
        let mut file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let upload = self
            .store
            .put_multipart(key)
            .await
            .map_err(|error| failed(&error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut buffer = vec![0; PART_BYTES];
        loop {
            let read = match file.read(&mut buffer).await {
                Ok(read) => read,
                Err(error) => {
                    // The half-written file goes; should that fail too, the first error is the one to tell.
                    let _ = upload.abort().await;
                    return Err(unreadable(error));
                }
            };
            if read == 0 {
                break;
            }
            upload.write(&buffer[..read]);
            upload
                .wait_for_capacity(1)
                .await
                .map_err(|error| failed(&error))?;
        }
        upload.finish().await.map_err(|error| failed(&error))?;
        Ok(())
    }
}

#[async_trait]
impl Blobs for FolderBlobs {
    async fn put_file(
        &self,
        tenant: TenantId,
        artifact: ArtifactId,
        path: &Path,
    ) -> Result<(), BlobError> {
        self.copy_in(&key(tenant, artifact), path).await
    }

    async fn put(
        &self,
        tenant: TenantId,
        artifact: ArtifactId,
        bytes: Vec<u8>,
    ) -> Result<(), BlobError> {
        let stored = self.store.put(&key(tenant, artifact), bytes.into()).await;
        stored.map(drop).map_err(|error| failed(&error))
    }

    async fn get(
        &self,
        tenant: TenantId,
        artifact: ArtifactId,
    ) -> Result<Option<BoxStream<'static, Result<Vec<u8>, BlobError>>>, BlobError> {
        match self.store.get(&key(tenant, artifact)).await {
            Ok(found) => Ok(Some(
                found
                    .into_stream()
                    .map_ok(Vec::from)
                    .map_err(|error| failed(&error))
                    .boxed(),
            )),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn key(tenant: TenantId, artifact: ArtifactId) -> Key {
    Key::from_iter([tenant.to_string(), artifact.to_string()])
}

fn failed(error: &Error) -> BlobError {
    BlobError(error.to_string())
}
