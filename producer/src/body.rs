//! JSON bodies, refused with the place that is wrong: 415, 413, 400 for what is not JSON, 422 for the rest.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::problem::Problem;
use crate::problem_kinds as kinds;

pub(crate) struct Body<T>(pub T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_content_type(&request)?;
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| unreadable(rejection.status()))?;
        parse(&bytes).map(Self)
    }
}

fn check_content_type(request: &Request) -> Result<(), Problem> {
    let value = request.headers().get(CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = text.split(';').next().unwrap_or("").trim();
    let lower = media_type.to_ascii_lowercase();
    let is_json = lower == "application/json"
        || (lower.starts_with("application/") && lower.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    let got: String = media_type.chars().take(64).collect();
    let said = if got.is_empty() {
        "The request has no Content-Type".to_owned()
    } else {
        format!("`{got}` is not understood here")
    };
    let detail = format!("{said}; send JSON as `Content-Type: application/json`.");
    Err(Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE, detail))
}

fn unreadable(status: StatusCode) -> Problem {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(
            &kinds::BODY_TOO_LARGE,
            "The body is larger than this address takes (1 MiB, 4 MiB for a task's result, 16 MiB for bulk \
             creation, unless configured otherwise). Split it, or send large texts as files.",
        )
        // The rest of the body stays unread, so nothing can follow it; without the header a client would learn that
        // only when its next request on this connection breaks.
        .header(CONNECTION, "close");
    }
    Problem::new(
        &kinds::BAD_REQUEST,
        "The body broke off or cannot be read. Send it again.",
    )
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Serde would take a list for an object, field by field in the order of the code.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::invalid_at(
            "",
            "invalid type: a list, expected an object",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        wrong(&pointer, error.inner())
    })?;
    json.end().map_err(|error| wrong("", &error))?;
    Ok(value)
}

fn wrong(pointer: &str, error: &serde_json::Error) -> Problem {
    if error.classify() != Category::Data {
        let detail = format!(
            "The body is not valid JSON: {} at line {}, column {}.",
            reason(error),
            error.line(),
            error.column()
        );
        return Problem::new(&kinds::INVALID_JSON, detail);
    }
    let reason = reason(error);
    let mut pointer = pointer.to_owned();
    // Serde names an unknown or missing field in its words only; a client wants it in the pointer.
    for start in ["unknown field `", "missing field `", "duplicate field `"] {
        let name = reason
            .strip_prefix(start)
            .and_then(|rest| rest.split_once('`'));
        if let Some((name, _)) = name {
            let last = format!("/{}", escape(name));
            if !pointer.ends_with(&last) || start.starts_with("missing") {
                pointer.push_str(&last);
            }
        }
    }
    let detail = if reason.starts_with("missing field") {
        "is required".to_owned()
    } else {
        plain(&reason)
    };
    Problem::invalid_at(&pointer, detail)
}

/// In JSON's words instead of Rust's.
fn plain(reason: &str) -> String {
    let reason = match reason.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected an object"),
        None => reason.to_owned(),
    };
    reason
        .replace("unknown variant", "unknown value")
        .replace(
            "expected u32",
            &format!("expected a whole number from 0 to {}", u32::MAX),
        )
        .replace("expected u64", "expected a whole number from 0")
        .replace("a sequence", "a list")
        .replace("a map", "an object")
}

/// What the parser says, without the place: that is told apart.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&escape(key));
            }
            // Not a place in the body.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// A name as a part of a JSON pointer.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only its parsing matters")]
        items: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its parsing matters")]
        count: u32,
    }

    fn told(body: &str) -> String {
        let problem = parse::<Outer>(body.as_bytes()).unwrap_err();
        format!("{problem:?}")
    }

    #[test]
    fn the_pointer_names_the_place() {
        for (body, pointer) in [
            (
                r#"{"items":[{"count":1},{"count":"x"}]}"#,
                "\"/items/1/count\"",
            ),
            (
                r#"{"items":[{"count":1,"colour":2}]}"#,
                "\"/items/0/colour\"",
            ),
            (r#"{"items":[{}]}"#, "\"/items/0/count\""),
            (r#"{"items":[],"a/b":1}"#, "\"/a~1b\""),
            (r#"{"items":[{"count":-1}]}"#, "\"/items/0/count\""),
            ("[]", "\"\""),
            ("7", "\"\""),
        ] {
            let told = told(body);
            assert!(
                told.contains(&format!("pointer: {pointer}")),
                "{body}: {told}"
            );
        }
    }

    #[test]
    fn a_number_out_of_range_is_told_the_range() {
        for count in ["-1", "99999999999999", "1.5", "\"x\""] {
            let told = told(&format!(r#"{{"items":[{{"count":{count}}}]}}"#));
            assert!(
                told.contains("expected a whole number from 0 to 4294967295"),
                "{count}: {told}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_told_with_its_place() {
        for body in ["", "{", r#"{"items":[]} x"#, "{'items':[]}"] {
            let told = told(body);
            assert!(
                told.contains("INVALID_JSON") && told.contains("line 1"),
                "{body}: {told}"
            );
        }
    }
}
