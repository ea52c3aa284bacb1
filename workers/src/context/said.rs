//! What a run says, gathered for a moment and written in fenced batches.
//!
//! Memory is bounded: a run that writes faster than the store takes is held up, and beyond the log limit it is cut off.
//! A run that says nothing costs no task and no timer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::Report;
use domain::{LogChunk, LogCursor, LogStream, Progress, Spent};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::JobContext;

/// How long what a run says is gathered before it is written.
const GATHER: Duration = Duration::from_millis(100);
/// Between two written progress reports of one run; the latest wins.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Text in one row of the log.
const CHUNK_BYTES: usize = 32 * 1024;
/// Text that may wait for the store before the run is held up.
const WAITING_BYTES: usize = 1024 * 1024;
/// Checkpoints that may wait; when more come, the oldest of them are skipped.
const WAITING_CHECKPOINTS: usize = 16;

/// What a run says, on its way to the store.
pub(super) struct Saying {
    pending: Mutex<Pending>,
    /// Held while a batch is written, so that batches keep their order and `close` waits for the last.
    writing: tokio::sync::Mutex<()>,
    /// For text that waits; never closed.
    room: Semaphore,
}

#[derive(Default)]
struct Said {
    logs: Vec<LogChunk>,
    progress: Option<(Progress, Option<Spent>)>,
    checkpoints: Vec<Value>,
}

#[derive(Default)]
pub(super) struct Pending {
    said: Said,
    next_number: u32,
    kept_bytes: u64,
    cut_off: bool,
    progress_written: Option<Instant>,
    /// A task will write what is pending.
    flushing: bool,
}

impl Default for Saying {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::new(()),
            room: Semaphore::new(WAITING_BYTES),
        }
    }
}

impl Saying {
    pub(super) fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.has_only_logs()
    }

    fn has_only_logs(&self) -> bool {
        self.progress.is_none() && self.checkpoints.is_empty()
    }
}

impl Pending {
    /// What may be written now. Progress waits for its turn unless `all`.
    fn take(&mut self, all: bool) -> Said {
        let mut said = std::mem::take(&mut self.said);
        let due = self
            .progress_written
            .is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        if !all && !due {
            self.said.progress = said.progress.take();
        }
        if said.progress.is_some() {
            self.progress_written = Some(Instant::now());
        }
        said
    }

    /// The latest progress wins; what was spent stays told until it is written.
    pub(super) fn set_progress(&mut self, progress: Progress, spent: Option<Spent>, urgent: bool) {
        if urgent {
            self.progress_written = None;
        }
        let unwritten = self.said.progress.take().and_then(|(_, spent)| spent);
        self.said.progress = Some((progress, spent.or(unwritten)));
    }
}

impl JobContext {
    /// Writes what is left, but for a last piece of the log, which is returned to be written with the run's end. Nothing
    /// that is said after this is kept.
    pub async fn close(&self) -> Vec<LogChunk> {
        if self.is_lost() {
            return Vec::new();
        }
        let _writing = self.saying.writing.lock().await;
        let said = self.saying.lock().take(true);
        if said.logs.len() <= 1 && said.has_only_logs() {
            return said.logs;
        }
        self.write_said(said).await;
        Vec::new()
    }

    /// Adds to the log; held up while there is no room.
    pub(super) async fn say(&self, stream: LogStream, text: &str) {
        for piece in pieces(text) {
            let permits = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            if let Ok(room) = self.saying.room.acquire_many(permits).await {
                room.forget();
            }
            self.append(stream, piece);
        }
    }

    pub(super) fn add_checkpoint(&self, data: Value) {
        let mut pending = self.saying.lock();
        let checkpoints = &mut pending.said.checkpoints;
        if checkpoints.len() >= WAITING_CHECKPOINTS {
            checkpoints.remove(0);
        }
        checkpoints.push(data);
        self.wake(&mut pending);
    }

    /// Makes sure that a task writes what was just added.
    pub(super) fn wake(&self, pending: &mut Pending) {
        if pending.flushing {
            return;
        }
        let Some(this) = self.this.upgrade() else {
            return;
        };
        pending.flushing = true;
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(GATHER).await;
                this.flush().await;
                let mut pending = this.saying.lock();
                if pending.said.is_empty() || this.is_lost() {
                    pending.flushing = false;
                    return;
                }
            }
        });
    }

    async fn flush(&self) {
        let _writing = self.saying.writing.lock().await;
        let said = self.saying.lock().take(false);
        if !said.is_empty() {
            self.write_said(said).await;
        }
    }

    async fn write_said(&self, said: Said) {
        let (progress, spent) = said.progress.unzip();
        let bytes: usize = said.logs.iter().map(|chunk| chunk.text.len()).sum();
        let report = Report {
            progress,
            spent: spent.flatten(),
            checkpoints: said.checkpoints,
            logs: said.logs,
            ..self.empty_report()
        };
        self.write(report).await;
        self.saying.room.add_permits(bytes);
    }

    /// Adds a piece of at most [`CHUNK_BYTES`] to the log, or notes once that the log is full.
    fn append(&self, stream: LogStream, piece: &str) {
        let limit = self.worker.config.log_limit_bytes;
        let room = &self.saying.room;
        let mut pending = self.saying.lock();
        if pending.cut_off {
            return room.add_permits(piece.len());
        }
        pending.kept_bytes += piece.len() as u64;
        if pending.kept_bytes > limit {
            pending.cut_off = true;
            room.add_permits(piece.len());
            let note =
                format!("the log reached its limit of {limit} bytes; the rest is not kept\n");
            // Not counted against the room: it is one line a run.
            room.forget_permits(note.len());
            self.push(&mut pending, LogStream::System, &note);
        } else {
            self.push(&mut pending, stream, piece);
        }
        self.wake(&mut pending);
    }

    fn push(&self, pending: &mut Pending, stream: LogStream, text: &str) {
        if let Some(last) = pending.said.logs.last_mut()
            && last.stream == stream
            && last.text.len() + text.len() <= CHUNK_BYTES
        {
            return last.text.push_str(text);
        }
        pending.next_number += 1;
        let cursor = LogCursor {
            attempt: self.attempt,
            number: pending.next_number,
        };
        pending.said.logs.push(LogChunk {
            cursor,
            at: self.worker.ports.clock.now(),
            stream,
            text: text.to_owned(),
        });
    }
}

/// Cuts text into pieces of at most [`CHUNK_BYTES`], between characters.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let (piece, rest) = text.split_at(text.floor_char_boundary(CHUNK_BYTES));
        text = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_nothing_is_lost() {
        let text = "ä".repeat(CHUNK_BYTES);
        let cut: Vec<&str> = pieces(&text).collect();
        assert!(cut.iter().all(|piece| piece.len() <= CHUNK_BYTES));
        assert_eq!(cut.concat(), text);
        assert_eq!(pieces("").count(), 0);
    }
}
