//! The repository that a session works on.

use domain::Repository;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A local git repository; the agent works in a worktree of its own.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Repository)]
pub(crate) struct RepositoryBody {
    /// Absolute path on the workers, below one of their configured roots.
    #[schema(example = "/srv/repositories/shop")]
    pub path: String,
    /// Branch, tag or commit.
    #[serde(rename = "ref", default = "head")]
    #[schema(default = "HEAD")]
    pub reference: String,
    /// No other exclusive session works on this branch of this repository at the same time; the session waits for its
    /// turn while it holds a slot, which does not count as its run's time. Not for a bare commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
}

fn head() -> String {
    "HEAD".to_owned()
}

impl RepositoryBody {
    pub(super) fn into_spec(self) -> Repository {
        Repository {
            path: self.path,
            reference: self.reference,
            exclusive: self.exclusive,
        }
    }
}

impl From<Repository> for RepositoryBody {
    fn from(repository: Repository) -> Self {
        Self {
            path: repository.path,
            reference: repository.reference,
            exclusive: repository.exclusive,
        }
    }
}
