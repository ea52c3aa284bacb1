//! What comes of a call to OpenCode's server: an answer of a bounded size, a refusal, or silence.

use std::path::Path;

use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;

/// A long conversation with all that its tools printed. What runs below the server must not fill the worker's memory.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Of what a refusal says.
const REFUSAL_BYTES: usize = 64 * 1024;
const REFUSAL_CHARS: usize = 500;

#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// It did not answer, or not in its language: the server is gone or ill.
    #[error("OpenCode's server did not answer: {0}")]
    Unreachable(String),
    #[error("OpenCode's server refused to {what}: {status}: {said}")]
    Refused {
        what: &'static str,
        status: StatusCode,
        said: String,
    },
}

pub(super) type Called<T> = Result<T, CallError>;

pub(super) async fn accepted(what: &'static str, response: Response) -> Called<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let said = bounded(response, REFUSAL_BYTES).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    Err(CallError::Refused {
        what,
        status,
        said: said.chars().take(REFUSAL_CHARS).collect(),
    })
}

/// The answer of a call that was accepted.
pub(super) async fn read<T: DeserializeOwned>(response: Response) -> Called<T> {
    let bytes = bounded(response, ANSWER_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|error| CallError::Unreachable(error.to_string()))
}

async fn bounded(mut response: Response, limit: usize) -> Called<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable(&error))?
    {
        if bytes.len() + chunk.len() > limit {
            let why = format!("its answer has more than {limit} bytes");
            return Err(CallError::Unreachable(why));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

pub(super) fn unreachable(error: &reqwest::Error) -> CallError {
    use std::error::Error as _;
    // Its own words say only which URL; the cause is what matters.
    let cause = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    CallError::Unreachable(cause)
}

pub(super) fn for_url(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt;
    let mut out = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_fits_into_a_url() {
        assert_eq!(for_url(Path::new("/srv/a-b_c.d")), "/srv/a-b_c.d");
        assert_eq!(
            for_url(Path::new("/größe & ?")),
            "/gr%C3%B6%C3%9Fe%20%26%20%3F"
        );
    }
}
