//! The pipe through which a command tells how far it is.
//!
//! A named pipe that the worker itself holds open for reading and writing: a command can open and close it as often as
//! it likes, from a shell line as well as from a program, and never blocks for want of a reader or dies for want of one.
//! One JSON object a line, `{"progress": {"fraction": 0.5, "message": "half"}}` or `{"checkpoint": {...}}`; lines of up to 4096 bytes
//! of several writers do not mix.

use std::io;
use std::path::Path;

use application::ports::HandlerError;
use domain::Progress;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::unix::pipe;

use crate::failure;
use crate::output::{Console, Records};
use crate::private::clear;

/// A command that keeps writing something else fills its log with complaints only so far.
const COMPLAINTS_MAX: usize = 10;
const COMPLAINT_CHARS: usize = 120;
/// After the command has ended, its pipe holds at most this much.
const PIPE_BYTES: usize = 1024 * 1024;

pub struct ProgressPipe {
    receiver: pipe::Receiver,
    records: Records,
    complaints: usize,
}

/// A line of the pipe; other members are refused, so that a misspelt one is noticed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Progress(Progress),
    Checkpoint(Value),
}

impl ProgressPipe {
    pub fn create(path: &Path) -> Result<Self, HandlerError> {
        let open = || -> io::Result<pipe::Receiver> {
            clear(path)?;
            mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
            pipe::OpenOptions::new()
                .read_write(true)
                .open_receiver(path)
        };
        let receiver = open().map_err(|error| failure::io("create the pipe", path, &error))?;
        Ok(Self {
            receiver,
            records: Records::default(),
            complaints: 0,
        })
    }

    /// Passes on what comes, and returns only if the pipe fails.
    pub async fn follow(&mut self, console: &Console<'_>) {
        let mut buffer = vec![0; 4096];
        while self.receiver.readable().await.is_ok() {
            match self.receiver.try_read(&mut buffer) {
                Ok(count) => self.take(&buffer[..count], console).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Passes on what is still in the pipe when the command has ended.
    pub async fn drain(&mut self, console: &Console<'_>) {
        let mut buffer = vec![0; 4096];
        let mut total = 0;
        while total < PIPE_BYTES {
            let Ok(count) = self.receiver.try_read(&mut buffer) else {
                break;
            };
            total += count;
            self.take(&buffer[..count], console).await;
        }
        if let Some(line) = self.records.finish() {
            self.understand(&line, console).await;
        }
    }

    async fn take(&mut self, bytes: &[u8], console: &Console<'_>) {
        let dropped = self.records.dropped;
        for line in self.records.feed(bytes) {
            self.understand(&line, console).await;
        }
        if self.records.dropped > dropped {
            self.complain(
                "a line of the progress pipe was longer than 1 MiB and was left out",
                console,
            )
            .await;
        }
    }

    async fn understand(&mut self, line: &[u8], console: &Console<'_>) {
        if line.trim_ascii().is_empty() || console.is_muted() {
            return;
        }
        match serde_json::from_slice(line) {
            Ok(Line::Progress(progress)) => {
                match progress.wrong_fraction().or_else(|| progress.wrong_usage()) {
                    None => {
                        let progress = presentable(progress, console);
                        console.context().progress(progress).await;
                    }
                    Some(why) => self.refuse(&why, line, console).await,
                }
            }
            Ok(Line::Checkpoint(data)) => console.context().checkpoint(without_nul(data)).await,
            Err(error) => self.refuse(&error.to_string(), line, console).await,
        }
    }

    async fn refuse(&mut self, why: &str, line: &[u8], console: &Console<'_>) {
        let text = String::from_utf8_lossy(line);
        let start: String = text.trim().chars().take(COMPLAINT_CHARS).collect();
        let complaint = format!("a line of the progress pipe was not understood ({why}): {start}");
        self.complain(&complaint, console).await;
    }

    async fn complain(&mut self, complaint: &str, console: &Console<'_>) {
        self.complaints += 1;
        if self.complaints <= COMPLAINTS_MAX {
            console.say(&complaint.replace('\0', "\u{fffd}")).await;
        }
    }
}

fn presentable(mut progress: Progress, console: &Console<'_>) -> Progress {
    progress.message = progress
        .message
        .map(|message| console.redactor().once(&message.replace('\0', "\u{fffd}")));
    progress.data = progress
        .data
        .into_iter()
        .map(|(name, value)| (name.replace('\0', "\u{fffd}"), without_nul(value)))
        .collect();
    progress.data = console.redactor().members(progress.data);
    progress
}

/// The stores hold JSON without NUL characters only.
pub fn without_nul(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name.replace('\0', "\u{fffd}"), without_nul(value)))
            .collect(),
        other => other,
    }
}
