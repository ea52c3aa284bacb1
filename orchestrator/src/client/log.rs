//! A job's log as it is written. Streams break: this one comes back and goes on behind the last byte it handed on, which
//! it can because a log only ever grows.

use std::time::Duration;

use reqwest::Response;

use super::{Client, ClientError};

/// Between two tries to come back.
const RETRY: Duration = Duration::from_millis(500);
/// So many tries without a single byte in between, then the server counts as gone.
const TRIES: u32 = 20;

pub struct Log {
    client: Client,
    path: String,
    follow: bool,
    answer: Option<Response>,
    handed_on: usize,
    /// Of the present answer, what was handed on before.
    to_skip: usize,
    failures: u32,
    was_there: bool,
}

impl Log {
    pub(super) fn new(client: Client, path: String, follow: bool) -> Self {
        Self {
            client,
            path,
            follow,
            answer: None,
            handed_on: 0,
            to_skip: 0,
            failures: 0,
            was_there: false,
        }
    }

    /// The next piece; `None` when the server has ended the stream: the job is over, or the server leaves. Calling
    /// again opens it anew.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            match self.read().await {
                Ok(piece) => {
                    self.failures = 0;
                    return Ok(piece);
                }
                // A server that was never there is told at once.
                Err(error) if error.is_passing() && self.was_there && self.failures < TRIES => {
                    self.answer = None;
                    self.failures += 1;
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            let answer = match &mut self.answer {
                Some(answer) => answer,
                none => {
                    let query = [("follow", self.follow.to_string())];
                    let answer = self.client.text(&self.path, &query).await?;
                    self.to_skip = self.handed_on;
                    self.was_there = true;
                    none.insert(answer)
                }
            };
            let piece = answer
                .chunk()
                .await
                .map_err(|error| ClientError::broke_off(self.client.base(), &error))?;
            let Some(piece) = piece else {
                self.answer = None;
                return Ok(None);
            };
            let known = self.to_skip.min(piece.len());
            self.to_skip -= known;
            if known < piece.len() {
                self.handed_on += piece.len() - known;
                return Ok(Some(piece[known..].to_vec()));
            }
        }
    }
}
