use chrono::{DateTime, Utc};
use domain::Artifact;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A file kept from a run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Artifact)]
pub(crate) struct ArtifactBody {
    pub id: Uuid,
    /// The run that left it.
    pub attempt: u32,
    #[schema(example = "REPORT.txt")]
    pub name: String,
    pub media_type: String,
    pub bytes: u64,
    pub sha256: String,
    pub created_at: DateTime<Utc>,
}

/// The files kept from a job's runs, by run and name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArtifactList {
    pub items: Vec<ArtifactBody>,
}

impl From<Artifact> for ArtifactBody {
    fn from(artifact: Artifact) -> Self {
        Self {
            id: artifact.id.as_uuid(),
            attempt: artifact.attempt,
            name: artifact.name,
            media_type: artifact.media_type,
            bytes: artifact.bytes,
            sha256: artifact.sha256,
            created_at: artifact.created_at,
        }
    }
}
