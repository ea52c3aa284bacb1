//! A job's events as they happen. Streams break: this one comes back and goes on behind the last event it saw.

use std::time::Duration;

use super::types::JobEvent;
use super::{Client, ClientError, Lines};

/// Between two tries to come back.
const RETRY: Duration = Duration::from_millis(500);
/// So many tries without a single event in between, then the server counts as gone.
const TRIES: u32 = 20;

pub struct Events {
    client: Client,
    path: String,
    lines: Option<Lines>,
    last: Option<String>,
    failures: u32,
}

/// What an event stream says next.
#[derive(Debug)]
pub enum Event {
    Job(Box<JobEvent>),
    /// The server has ended the stream: the job is over, or the server leaves.
    End,
}

impl Events {
    pub(super) fn new(client: Client, path: String) -> Self {
        Self {
            client,
            path,
            lines: None,
            last: None,
            failures: 0,
        }
    }

    /// The next event. After [`Event::End`] calling again opens the stream anew.
    pub async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            match self.read().await {
                Ok(event) => {
                    self.failures = 0;
                    return Ok(event);
                }
                Err(error) if error.is_passing() && self.failures < TRIES => {
                    // Not the very first try: a server that was never there is told at once.
                    if self.last.is_none() && self.failures == 0 && self.lines.is_none() {
                        return Err(error);
                    }
                    self.lines = None;
                    self.failures += 1;
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn read(&mut self) -> Result<Event, ClientError> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            none => {
                let answer = self
                    .client
                    .open_events(&self.path, self.last.as_deref())
                    .await?;
                none.insert(Lines::new(answer))
            }
        };
        let mut frame = Frame::default();
        loop {
            let line = lines
                .next()
                .await
                .map_err(|error| ClientError::broke_off(self.client.base(), &error))?;
            let Some(line) = line else {
                self.lines = None;
                return Ok(Event::End);
            };
            if !frame.take(&line) {
                continue;
            }
            let whole = std::mem::take(&mut frame);
            if let Some(id) = whole.id {
                self.last = Some(id);
            }
            if whole.data.is_empty() {
                continue;
            }
            let event = serde_json::from_str(&whole.data).map_err(|error| {
                ClientError::Garbled(self.client.base().to_owned(), error.to_string())
            })?;
            return Ok(Event::Job(Box::new(event)));
        }
    }
}

/// One message of the stream, gathered line by line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Frame {
    id: Option<String>,
    data: String,
}

impl Frame {
    /// Takes a line; true when the message is whole.
    fn take(&mut self, line: &str) -> bool {
        if line.is_empty() {
            return true;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Comments keep the connection alive; `event` and `retry` say nothing that we need.
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_its_lines_up_to_the_empty_one() {
        let mut frame = Frame::default();
        for line in [
            ": keep-alive",
            "id: 7",
            "event: started",
            "data: {",
            "data:}",
        ] {
            assert!(!frame.take(line), "{line}");
        }
        assert!(frame.take(""));
        let expected = Frame {
            id: Some("7".to_owned()),
            data: "{\n}".to_owned(),
        };
        assert_eq!(frame, expected);
    }
}
