//! What can go wrong between us and the API, said so that a person knows what to do.

use reqwest::StatusCode;
use serde::Deserialize;
use std::fmt::Write as _;

use crate::exit::Exit;

/// The API's problem document.
#[derive(Debug, Deserialize)]
pub struct Problem {
    pub title: String,
    pub detail: String,
    pub code: String,
    #[serde(default)]
    pub errors: Vec<Wrong>,
}

/// One place of a request that is wrong.
#[derive(Debug, Deserialize)]
pub struct Wrong {
    pub pointer: String,
    pub detail: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("`{0}` is not an address of the API: {1}")]
    Address(String, String),
    #[error("`{0}` is not a tenant's slug or id")]
    Tenant(String),
    #[error(
        "the API at {0} does not answer: {1}. Start it with `orchestrator dev`, or say where it is with --url"
    )]
    Unreachable(String, String),
    #[error("the answer of the API at {0} broke off: {1}")]
    BrokeOff(String, String),
    #[error("what answers at {0} is not this version's API: {1}")]
    Garbled(String, String),
    #[error("{}", refusal(.problem.as_ref(), *.status))]
    Refused {
        status: StatusCode,
        problem: Option<Problem>,
    },
    #[error(
        "the API at {0} wants a key and none was found: give --key-file or ORCHESTRATOR_KEY, or the --data-dir of a `dev` on this machine. Make one with `orchestrator key create`"
    )]
    NoKey(String),
}

impl ClientError {
    pub(super) fn unreachable(base: &str, error: &reqwest::Error) -> Self {
        Self::Unreachable(base.to_owned(), root_cause(error))
    }

    pub fn broke_off(base: &str, error: &reqwest::Error) -> Self {
        Self::BrokeOff(base.to_owned(), root_cause(error))
    }

    pub(super) fn refused(
        status: StatusCode,
        problem: Option<Problem>,
        has_key: bool,
        base: &str,
    ) -> Self {
        if status == StatusCode::UNAUTHORIZED && !has_key {
            return Self::NoKey(base.to_owned());
        }
        Self::Refused { status, problem }
    }

    /// The stable code of the API's problem, if it named one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused {
                problem: Some(problem),
                ..
            } => Some(&problem.code),
            _ => None,
        }
    }

    /// True when the same request may succeed later: the server is gone or busy for now.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(..) | Self::BrokeOff(..) => true,
            Self::Refused { status, .. } => *status == StatusCode::SERVICE_UNAVAILABLE,
            _ => false,
        }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Address(..) | Self::Tenant(_) => Exit::Usage,
            Self::Unreachable(..) | Self::BrokeOff(..) | Self::Garbled(..) => Exit::Failed,
            Self::NoKey(_) => Exit::Auth,
            Self::Refused { status, .. } => match status.as_u16() {
                401 | 403 => Exit::Auth,
                404 => Exit::NotFound,
                400 | 413 | 415 | 422 => Exit::Usage,
                429 => Exit::Quota,
                _ => Exit::Failed,
            },
        }
    }
}

fn refusal(problem: Option<&Problem>, status: StatusCode) -> String {
    let Some(problem) = problem else {
        return format!("the API answered {status}");
    };
    let mut text = format!("{}: {} ({})", problem.title, problem.detail, problem.code);
    for wrong in &problem.errors {
        let _ = write!(text, "\n  {} {}", wrong.pointer, wrong.detail);
    }
    text
}

/// The innermost reason: `connection refused` rather than `error sending request`.
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> ClientError {
        let status = StatusCode::from_u16(status).unwrap();
        ClientError::refused(status, None, true, "http://x")
    }

    #[test]
    fn every_refusal_has_its_exit_code() {
        for (status, exit) in [
            (400, Exit::Usage),
            (401, Exit::Auth),
            (403, Exit::Auth),
            (404, Exit::NotFound),
            (409, Exit::Failed),
            (422, Exit::Usage),
            (429, Exit::Quota),
            (500, Exit::Failed),
            (503, Exit::Failed),
        ] {
            assert_eq!(refused(status).exit(), exit, "{status}");
        }
        assert!(refused(503).is_passing() && !refused(500).is_passing());
    }

    #[test]
    fn a_missing_key_is_told_apart_from_a_wrong_one() {
        let missing = ClientError::refused(StatusCode::UNAUTHORIZED, None, false, "http://x");
        assert!(missing.to_string().contains("--key-file"), "{missing}");
        assert_eq!(missing.exit(), Exit::Auth);
        assert!(!refused(401).to_string().contains("--key-file"));
    }

    #[test]
    fn a_problem_is_shown_with_every_wrong_place() {
        let problem: Problem = serde_json::from_str(
            r#"{"type": "/docs#VALIDATION_ERROR", "title": "The request is not valid", "status": 422,
                "detail": "2 values are wrong.", "code": "VALIDATION_ERROR", "request_id": "x",
                "errors": [{"pointer": "/title", "detail": "must not be empty"},
                           {"pointer": "/keep/0", "detail": "must be relative"}]}"#,
        )
        .unwrap();
        let error = ClientError::refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            Some(problem),
            true,
            "http://x",
        );
        let text = error.to_string();
        assert!(text.contains("VALIDATION_ERROR"), "{text}");
        assert!(text.contains("\n  /title must not be empty"), "{text}");
        assert!(text.contains("\n  /keep/0 must be relative"), "{text}");
    }
}
