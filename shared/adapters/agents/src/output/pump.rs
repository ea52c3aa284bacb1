//! Carries what a program prints into the job's log, and knows when it is too much.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use application::ports::RunContext;
use domain::LogStream;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::{LineText, Redactor};
use crate::guard::Control;

const READ_BYTES: usize = 8 * 1024;
/// An unfinished line is shown after this much silence.
const FLUSH_AFTER: Duration = Duration::from_millis(200);
/// How many of the last lines are kept for the error of a failure.
const LAST_LINES: usize = 5;
const LAST_LINE_CHARS: usize = 300;

#[derive(Debug, Clone, Copy)]
pub struct OutputLimits {
    /// What a run prints beyond this is not shown.
    pub shown_bytes: u64,
    /// A run that prints more than this is killed.
    pub killed_bytes: u64,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self {
            shown_bytes: 8 * 1024 * 1024,
            killed_bytes: 64 * 1024 * 1024,
        }
    }
}

/// The output of one run, all its streams together.
pub struct Console<'a> {
    context: &'a dyn RunContext,
    redactor: Redactor,
    limits: OutputLimits,
    control: Option<Control>,
    printed: AtomicU64,
    shown: AtomicU64,
    muted: AtomicBool,
    last_lines: Mutex<[LastLines; 2]>,
}

impl<'a> Console<'a> {
    pub fn new(
        context: &'a dyn RunContext,
        redactor: Redactor,
        limits: OutputLimits,
        control: impl Into<Option<Control>>,
    ) -> Self {
        Self {
            context,
            redactor,
            limits,
            control: control.into(),
            printed: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            muted: AtomicBool::new(false),
            last_lines: Mutex::default(),
        }
    }

    /// Shows a stream until it ends.
    pub async fn pump(&self, stream: LogStream, mut reader: impl AsyncRead + Unpin) {
        let mut text = LineText::new(self.redactor.clone());
        let mut buffer = vec![0; READ_BYTES];
        let mut fresh = false;
        loop {
            let read = if fresh {
                timeout(FLUSH_AFTER, reader.read(&mut buffer)).await
            } else {
                Ok(reader.read(&mut buffer).await)
            };
            let ready = match read {
                Err(_silent) => {
                    fresh = false;
                    text.idle()
                }
                Ok(Ok(0) | Err(_)) => {
                    self.show(stream, &text.finish()).await;
                    return;
                }
                Ok(Ok(count)) => {
                    self.count(count);
                    let ready = text.feed(&buffer[..count]);
                    fresh = !text.is_empty();
                    ready
                }
            };
            self.show(stream, &ready).await;
        }
    }

    /// Counts what a run printed; kills it when that is too much.
    pub fn count(&self, bytes: usize) {
        let before = self.printed.fetch_add(bytes as u64, Ordering::Relaxed);
        if before <= self.limits.killed_bytes
            && self.is_over_limit()
            && let Some(control) = &self.control
        {
            control.kill();
        }
    }

    /// True when the run was killed for what it printed.
    pub fn is_over_limit(&self) -> bool {
        self.printed.load(Ordering::Relaxed) > self.limits.killed_bytes
    }

    /// Logs text that is clean and redacted already, within the run's limit.
    pub async fn show(&self, stream: LogStream, text: &str) {
        if text.is_empty() || self.is_muted() {
            return;
        }
        self.remember(stream, text);
        let before = self.shown.fetch_add(text.len() as u64, Ordering::Relaxed);
        let limit = self.limits.shown_bytes;
        if before >= limit {
            return;
        }
        let room = usize::try_from(limit - before).unwrap_or(usize::MAX);
        if text.len() <= room {
            self.context.log(stream, text).await;
            return;
        }
        let cut = text.floor_char_boundary(room);
        self.context.log(stream, &text[..cut]).await;
        self.say(&format!(
            "the run printed more than {limit} bytes; what follows is not kept"
        ))
        .await;
    }

    /// A line of the worker's own about the run.
    pub async fn say(&self, message: &str) {
        if !self.is_muted() {
            let line = format!("{}\n", self.redactor.once(message));
            self.context.log(LogStream::System, &line).await;
        }
    }

    /// From now on nothing is written: the job is not ours any more.
    pub fn mute(&self) {
        self.muted.store(true, Ordering::Relaxed);
    }

    pub fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    pub fn context(&self) -> &dyn RunContext {
        self.context
    }

    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    pub fn limits(&self) -> OutputLimits {
        self.limits
    }

    /// The last lines of a stream that are not blank, each cut to a readable length.
    pub fn last_lines(&self, stream: LogStream) -> Vec<String> {
        let lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lines[slot(stream)].lines.iter().cloned().collect()
    }

    fn remember(&self, stream: LogStream, text: &str) {
        let mut lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lines[slot(stream)].add(text);
    }
}

/// The end of a stream, in lines that are not blank.
#[derive(Default)]
struct LastLines {
    lines: VecDeque<String>,
    /// The last one may go on.
    is_open: bool,
}

impl LastLines {
    fn add(&mut self, text: &str) {
        let (first, rest) = match text.split_once('\n') {
            Some((first, rest)) => (first, Some(rest)),
            None => (text, None),
        };
        if self.is_open
            && let Some(last) = self.lines.back_mut()
        {
            append(last, first);
        } else {
            self.push(first);
        }
        if let Some(rest) = rest {
            let kept = rest
                .trim_end_matches('\n')
                .rsplit('\n')
                .filter(|line| !line.trim().is_empty());
            let kept: Vec<&str> = kept.take(LAST_LINES).collect();
            for line in kept.into_iter().rev() {
                self.push(line);
            }
        }
        self.is_open = !text.ends_with('\n');
    }

    fn push(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if self.lines.len() == LAST_LINES {
            self.lines.pop_front();
        }
        let mut kept = String::new();
        append(&mut kept, line);
        self.lines.push_back(kept);
    }
}

fn append(line: &mut String, more: &str) {
    let room = LAST_LINE_CHARS.saturating_sub(line.chars().count());
    line.extend(more.chars().take(room));
}

const fn slot(stream: LogStream) -> usize {
    match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr | LogStream::System => 1,
    }
}
