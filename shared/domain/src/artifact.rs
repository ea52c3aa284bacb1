//! A file kept from a run. The bytes are elsewhere; this says what and where.

use serde::{Deserialize, Serialize};

use crate::{ArtifactId, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub id: ArtifactId,
    pub attempt: u32,
    /// Unique within the run: `session.diff`, `REPORT.txt`, ...
    pub name: String,
    pub media_type: String,
    pub bytes: u64,
    pub sha256: String,
    pub created_at: Timestamp,
}
