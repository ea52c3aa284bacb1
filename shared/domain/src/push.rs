//! Where a session's changes go: a branch of the repository that it worked on.

use serde::{Deserialize, Serialize};

use crate::{JobId, Violations};

const BRANCH_MAX: usize = 200;

/// After success, what changed becomes one commit on the revision that the session started from, pushed as a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Absent: `orchestrator/` and the session's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    pub branch: String,
    pub commit: String,
}

impl Push {
    /// The branch of this session.
    pub fn branch_of(&self, job: JobId) -> String {
        let own = || format!("orchestrator/{job}");
        self.branch.clone().unwrap_or_else(own)
    }

    pub(crate) fn check(&self, violations: &mut Violations) {
        if let Some(branch) = &self.branch {
            violations.text("/push/branch", branch, 1, BRANCH_MAX);
            if !is_branch(branch) {
                violations.add(
                    "/push/branch",
                    "must be a name that git takes for a branch, such as `fixes/login`",
                );
            }
        }
    }
}

/// As `git check-ref-format --branch` has it, a little stricter.
fn is_branch(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && !part.ends_with('.')
            && !std::path::Path::new(part)
                .extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("lock"))
    };
    !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && name != "HEAD"
        && name.split('/').all(is_part)
        && !name.chars().any(|c| {
            c.is_whitespace()
                || c.is_control()
                || matches!(c, '~' | '^' | ':' | '?' | '*' | '[' | '\\')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_git_takes_are_branches() {
        for name in ["main", "fixes/login", "a.b", "größe", "v1@2"] {
            assert!(is_branch(name), "{name}");
        }
        for name in [
            "", "/a", "a/", "a//b", ".a", "a/.b", "-a", "a..b", "a b", "a:b", "a~1", "a.lock",
            "a@{1}", "@", "HEAD", "a.", "a\\b", "a*",
        ] {
            assert!(!is_branch(name), "{name}");
        }
    }
}
