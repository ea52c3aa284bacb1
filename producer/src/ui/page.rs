//! What all pages share: their frame, and how a failure looks to a person.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use crate::problem::Problem;

/// The frame of a page for somebody who is logged in.
pub(super) struct Frame {
    /// The slug of the tenant that is shown.
    pub tenant: String,
    /// What links carry on, `?tenant=slug` when another tenant than the key's own is shown, else nothing.
    pub suffix: String,
    /// The key's name and role.
    pub who: String,
    /// Milliseconds since 1970 by the server's clock, for ages that go on counting.
    pub now_ms: i64,
    /// The event stream that says when to look again.
    pub stream: String,
}

pub(super) fn html(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A failure as a page.
pub(super) struct PageError(pub Problem);

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    title: &'a str,
    detail: &'a str,
    code: &'a str,
}

impl<E: Into<Problem>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let problem = self.0;
        let page = Message {
            title: problem.title(),
            detail: problem.detail(),
            code: problem.code(),
        };
        html(problem.status(), &page)
    }
}
