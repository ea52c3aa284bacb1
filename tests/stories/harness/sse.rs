//! Server-sent events, read as a browser reads them.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

#[derive(Debug, Clone)]
pub struct Event {
    pub id: i64,
    pub kind: String,
    pub data: Value,
}

pub struct EventStream {
    response: Response,
    unread: Vec<u8>,
}

impl EventStream {
    pub fn new(response: Response) -> Self {
        assert_eq!(response.status(), 200, "{}", response.url());
        let content_type = response.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok());
        assert_eq!(
            content_type,
            Some("text/event-stream"),
            "{}",
            response.url()
        );
        Self {
            response,
            unread: Vec::new(),
        }
    }

    /// The next event, or `None` when the server ended the stream.
    pub async fn next(&mut self, limit: Duration) -> Option<Event> {
        let read = async {
            loop {
                while let Some(block) = self.take_block() {
                    if let Some(event) = parse(&block) {
                        return Some(event);
                    }
                }
                let chunk = self.response.chunk().await.expect("the stream goes on");
                self.unread.extend_from_slice(&chunk?);
            }
        };
        tokio::time::timeout(limit, read)
            .await
            .unwrap_or_else(|_| panic!("no event and no end for {limit:?}"))
    }

    /// All events up to the end of the stream.
    pub async fn rest(&mut self, limit: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next(limit).await {
            events.push(event);
        }
        events
    }

    fn take_block(&mut self) -> Option<String> {
        let end = self.unread.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = self.unread.drain(..end + 2).collect();
        Some(String::from_utf8(block).expect("events are UTF-8"))
    }
}

/// Comments and bare `retry:` lines are no events.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| {
        block.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(rest.strip_prefix(' ').unwrap_or(rest).to_owned())
        })
    };
    let data = field("data")?;
    Some(Event {
        id: field("id")
            .and_then(|id| id.parse().ok())
            .unwrap_or_else(|| panic!("an event without an id: {block}")),
        kind: field("event").unwrap_or_default(),
        data: serde_json::from_str(&data).unwrap_or_else(|_| panic!("no JSON: {data}")),
    })
}
