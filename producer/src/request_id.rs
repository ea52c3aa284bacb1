//! The id that ties an answer to the log: taken from `x-request-id` when it is harmless, else made, always answered.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use crate::state::App;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LENGTH_MAX: usize = 128;

#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("")
    }

    /// A client's id, if nothing in it could break a log line or a header.
    fn accept(value: &HeaderValue) -> Option<Self> {
        let harmless = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        let bytes = value.as_bytes();
        let fine = !bytes.is_empty() && bytes.len() <= LENGTH_MAX && bytes.iter().all(harmless);
        fine.then(|| Self(value.clone()))
    }

    fn make(app: &App) -> Self {
        let id = app.ports.ids.next(app.ports.clock.now());
        let value = HeaderValue::from_str(&id.to_string());
        Self(value.unwrap_or_else(|_| HeaderValue::from_static("")))
    }
}

/// The outermost layer: everything inside logs under a span with the id.
pub(crate) async fn tag(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(X_REQUEST_ID)
        .and_then(RequestId::accept)
        .unwrap_or_else(|| RequestId::make(&app));
    request.extensions_mut().insert(id.clone());
    let span = tracing::info_span!(
        "request",
        request_id = id.as_str(),
        method = %request.method(),
        path = request.uri().path(),
    );
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(X_REQUEST_ID, id.0);
    response
}
