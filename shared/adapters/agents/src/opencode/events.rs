//! The stream of what happens in a server: lines of `data: {json}`, one an event.
//!
//! It has no ids to go on from: whoever loses it must look at the messages again.

use reqwest::Response;
use serde::Deserialize;
use serde_json::Value;

/// A longer one, such as the diff of a large change, is left out.
const EVENT_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub properties: Value,
}

pub(super) struct Events {
    response: Response,
    lines: Lines,
}

impl Events {
    pub(super) fn new(response: Response) -> Self {
        Self {
            response,
            lines: Lines::default(),
        }
    }

    /// The next events, at least one; empty when the stream is over. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Vec<Event> {
        loop {
            let Ok(Some(chunk)) = self.response.chunk().await else {
                return Vec::new();
            };
            let events = self.lines.feed(&chunk);
            if !events.is_empty() {
                return events;
            }
        }
    }
}

#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
    /// The pending line is too long already.
    skipping: bool,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.pending.len() + piece.len() > EVENT_BYTES {
                self.skipping = true;
                self.pending.clear();
            }
            if !self.skipping {
                self.pending.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                events.extend(event(&self.pending));
                self.pending.clear();
                self.skipping = false;
            }
        }
        events
    }
}

fn event(line: &[u8]) -> Option<Event> {
    serde_json::from_slice(line.strip_prefix(b"data:")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_they_are_cut() {
        let text = b"data: {\"type\":\"a\",\"properties\":{\"x\":1}}\n\n: comment\ndata: {\"type\":\"b\"}\r\n\ndata: no\n";
        let whole = Lines::default().feed(text);
        assert_eq!(whole.len(), 2);
        assert_eq!(
            (whole[0].kind.as_str(), &whole[0].properties["x"]),
            ("a", &1.into())
        );
        let mut lines = Lines::default();
        let cut: Vec<Event> = text.chunks(3).flat_map(|chunk| lines.feed(chunk)).collect();
        assert_eq!(cut, whole);
    }

    #[test]
    fn one_that_is_too_long_is_left_out_and_the_next_is_found() {
        let mut lines = Lines::default();
        assert!(lines.feed(b"data: {\"type\":\"").is_empty());
        for _ in 0..5 {
            assert!(lines.feed(&vec![b'x'; 1024 * 1024]).is_empty());
        }
        let events = lines.feed(b"\"}\ndata: {\"type\":\"after\"}\n");
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].kind, "after");
    }
}
