//! What is stored comes back whole, and only to its tenant.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test does"
)]

use std::fs;
use std::path::Path;

use adapter_artifacts::FolderBlobs;
use application::ports::Blobs;
use domain::{ArtifactId, TenantId};
use futures::TryStreamExt;
use uuid::Uuid;

const A: TenantId = TenantId::from_uuid(Uuid::from_u128(0xA));
const B: TenantId = TenantId::from_uuid(Uuid::from_u128(0xB));
const ONE: ArtifactId = ArtifactId::from_uuid(Uuid::from_u128(1));

async fn read(blobs: &FolderBlobs, tenant: TenantId, artifact: ArtifactId) -> Option<Vec<u8>> {
    let stream = blobs.get(tenant, artifact).await.unwrap()?;
    let chunks: Vec<Vec<u8>> = stream.try_collect().await.unwrap();
    Some(chunks.concat())
}

fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = files(&entry.path());
            names.extend(below.into_iter().map(|file| format!("{name}/{file}")));
        } else {
            names.push(name);
        }
    }
    names
}

#[tokio::test]
async fn bytes_and_files_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FolderBlobs::open(&folder.path().join("blobs")).unwrap();
    blobs.put(A, ONE, b"small".to_vec()).await.unwrap();
    assert_eq!(read(&blobs, A, ONE).await.unwrap(), b"small");

    let large: Vec<u8> = (0..5_000_001_u32).map(|at| (at % 251) as u8).collect();
    let path = folder.path().join("large");
    fs::write(&path, &large).unwrap();
    blobs.put_file(A, ONE, &path).await.unwrap();
    assert!(read(&blobs, A, ONE).await.unwrap() == large);

    fs::write(&path, b"").unwrap();
    blobs.put_file(A, ONE, &path).await.unwrap();
    assert_eq!(read(&blobs, A, ONE).await.unwrap(), b"");
    assert_eq!(files(&folder.path().join("blobs")), [format!("{A}/{ONE}")]);
}

#[tokio::test]
async fn another_tenant_does_not_reach_them() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FolderBlobs::open(folder.path()).unwrap();
    blobs.put(A, ONE, b"of A".to_vec()).await.unwrap();
    assert_eq!(read(&blobs, B, ONE).await, None);
    blobs.put(B, ONE, b"of B".to_vec()).await.unwrap();
    assert_eq!(read(&blobs, A, ONE).await.unwrap(), b"of A");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FolderBlobs::open(&folder.path().join("blobs")).unwrap();
    let missing = folder.path().join("missing");
    let error = blobs.put_file(A, ONE, &missing).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    // A folder can be opened but not read.
    blobs.put_file(A, ONE, folder.path()).await.unwrap_err();
    assert_eq!(read(&blobs, A, ONE).await, None);
    assert_eq!(files(&folder.path().join("blobs")), Vec::<String>::new());
}
