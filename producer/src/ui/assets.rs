//! Style and script, compiled in.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

pub(super) async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    let Some(found) = Assets::get(&file) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = format!("\"{}\"", hex::encode(found.metadata.sha256_hash()));
    let known = headers
        .get(IF_NONE_MATCH)
        .map(|value| value.as_bytes() == tag.as_bytes());
    // Asked again at every use, answered with 304: an upgraded server is never seen with an old script.
    let caching = [(ETAG, tag), (CACHE_CONTROL, "no-cache".to_owned())];
    if known == Some(true) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let kind = match file.rsplit_once('.').map(|(_, ending)| ending) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    (caching, [(CONTENT_TYPE, kind)], found.data).into_response()
}
