//! What came back: a whole answer, or one that is read bit by bit.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use futures::StreamExt as _;
use serde_json::Value;

use crate::site::DEADLINE;

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that this is a whole problem document of this code, and returns it.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("/docs#{code}"));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(
            problem["detail"].as_str().unwrap().ends_with('.'),
            "{problem}"
        );
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(!self.header("x-request-id").is_empty());
        problem
    }

    /// Asserts that this is a validation problem with exactly this one pointer, and returns its detail.
    #[track_caller]
    pub fn invalid_at(&self, pointer: &str) -> String {
        let problem = self.problem(422, "VALIDATION_ERROR");
        let errors = problem["errors"].as_array().unwrap();
        let pointers: Vec<&str> = errors
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(pointers, [pointer], "{problem}");
        errors[0]["detail"].as_str().unwrap().to_owned()
    }
}

/// A body that is read as it comes.
pub struct Reading {
    stream: futures::stream::BoxStream<'static, Result<Bytes, axum::Error>>,
    read: String,
}

impl Reading {
    pub fn of(response: axum::response::Response) -> Self {
        Self {
            stream: response.into_body().into_data_stream().boxed(),
            read: String::new(),
        }
    }

    /// Everything read until it contains `text`.
    pub async fn until(&mut self, text: &str) -> &str {
        while !self.read.contains(text) {
            assert!(
                self.more().await,
                "the stream ended without {text}: {}",
                self.read
            );
        }
        &self.read
    }

    /// Everything to the end.
    pub async fn rest(mut self) -> String {
        while self.more().await {}
        self.read
    }

    async fn more(&mut self) -> bool {
        let next = tokio::time::timeout(DEADLINE, self.stream.next())
            .await
            .unwrap_or_else(|_| panic!("nothing more came after: {}", self.read));
        let Some(part) = next else {
            return false;
        };
        self.read.push_str(&String::from_utf8_lossy(&part.unwrap()));
        true
    }
}

/// The ids (`seq`) and names of the events in a stream's text, in order.
pub fn events_in(text: &str) -> Vec<(i64, String)> {
    let field = |frame: &str, name: &str| {
        frame
            .lines()
            .find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    text.split("\n\n")
        .filter_map(|frame| {
            let id = field(frame, "id:")?.parse().unwrap();
            Some((id, field(frame, "event:")?))
        })
        .collect()
}
