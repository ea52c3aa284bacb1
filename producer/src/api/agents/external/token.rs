//! The token that an external agent presents.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::problem::Problem;

const TOKEN: &str = "x-agent-token";

/// Asked for before the body is read.
pub(in crate::api::agents) struct Token(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Token {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        presented(&parts.headers).map(Self).ok_or_else(|| {
            Problem::unauthenticated(
                "The request has no agent's token. Send the auth_token of the registration as `X-Agent-Token`.",
            )
        })
    }
}

fn presented(headers: &HeaderMap) -> Option<String> {
    headers.get(TOKEN)?.to_str().ok().map(str::to_owned)
}
