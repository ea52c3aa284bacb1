//! `If-Match`: a change is for the version that its author has read.

use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;

use crate::problem::Problem;
use crate::problem_kinds as kinds;

/// The version that a change of `what`, now at `current`, is for; `None` for any.
pub(crate) fn expected_version(
    headers: &HeaderMap,
    current: i64,
    what: &str,
) -> Result<Option<i64>, Problem> {
    let mut asked = headers.get_all(IF_MATCH).iter().peekable();
    if asked.peek().is_none() {
        return Ok(None);
    }
    let tag = format!("\"{current}\"");
    for value in asked {
        for part in value.to_str().unwrap_or("").split(',').map(str::trim) {
            if part == "*" {
                return Ok(None);
            }
            if part == tag {
                return Ok(Some(current));
            }
        }
    }
    Err(version_moved(current, what))
}

pub(crate) fn version_moved(version: i64, what: &str) -> Problem {
    let detail = format!(
        "The {what} is at version {version} now. Get it again, look at what changed, and send your change with its new ETag."
    );
    Problem::new(&kinds::VERSION_MISMATCH, detail).with("version", version)
}
