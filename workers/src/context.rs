//! What a run says, gathered for a moment and written in fenced batches; and the way it hears that it must end.
//!
//! Memory is bounded: a run that writes faster than the store takes is held up, and beyond the log limit it is cut off.
//! A run that says nothing costs no task and no timer.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use application::ports::{BlobError, HandlerError, Interruption, Report, RunContext};
use async_trait::async_trait;
use domain::{
    Artifact, ArtifactId, Job, JobError, JobId, LogChunk, LogCursor, LogStream, OverBudget,
    Progress, Spent, TenantId,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::life::Worker;
use crate::locks::RunLocks;
use crate::write::Written;

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
/// Files kept of one run.
const ARTIFACTS: u32 = 200;
/// Between tries while the store cannot be reached.
const RETRY: Duration = Duration::from_millis(500);

pub(crate) struct JobContext {
    worker: Arc<Worker>,
    tenant: TenantId,
    job: JobId,
    fence: i64,
    attempt: u32,
    interruption: watch::Receiver<Option<Interruption>>,
    /// What it draws on is used up, by the store's word.
    over: watch::Sender<Option<OverBudget>>,
    /// Since when the run's time counts; `None` while it waits for its turn.
    began: watch::Sender<Option<Instant>>,
    pending: Mutex<Pending>,
    /// Held while a batch is written, so that batches keep their order and `close` waits for the last.
    writing: tokio::sync::Mutex<()>,
    room: Semaphore,
    /// Locks that the run works under.
    locks: Mutex<Option<RunLocks>>,
    this: Weak<Self>,
}

/// Log, progress with what was spent, checkpoints.
type Said = (Vec<LogChunk>, Option<(Progress, Option<Spent>)>, Vec<Value>);

#[derive(Default)]
struct Pending {
    logs: Vec<LogChunk>,
    progress: Option<(Progress, Option<Spent>)>,
    checkpoints: Vec<Value>,
    next_number: u32,
    kept_bytes: u64,
    cut_off: bool,
    artifacts: u32,
    progress_written: Option<Instant>,
    /// A task will write what is pending.
    flushing: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.progress.is_none() && self.checkpoints.is_empty()
    }

    /// What may be written now. Progress waits for its turn unless `all`.
    fn take(&mut self, all: bool) -> Said {
        let due = self
            .progress_written
            .is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        let progress = if all || due {
            self.progress.take()
        } else {
            None
        };
        if progress.is_some() {
            self.progress_written = Some(Instant::now());
        }
        (
            std::mem::take(&mut self.logs),
            progress,
            std::mem::take(&mut self.checkpoints),
        )
    }
}

impl JobContext {
    pub fn new(
        worker: Arc<Worker>,
        job: &Job,
        interruption: watch::Receiver<Option<Interruption>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            worker,
            tenant: job.tenant,
            job: job.id,
            fence: job.fence,
            attempt: job.attempt,
            interruption,
            over: watch::Sender::new(None),
            began: watch::Sender::new(Some(Instant::now())),
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::new(()),
            room: Semaphore::new(WAITING_BYTES),
            locks: Mutex::default(),
            this: this.clone(),
        })
    }

    /// Writes what is left, but for a last piece of the log, which is returned to be written with the run's end. Nothing
    /// that is said after this is kept.
    pub async fn close(&self) -> Vec<LogChunk> {
        if self.is_lost() {
            return Vec::new();
        }
        let _writing = self.writing.lock().await;
        let said = self.lock().take(true);
        if said.0.len() <= 1 && said.1.is_none() && said.2.is_empty() {
            return said.0;
        }
        self.put(said).await;
        Vec::new()
    }

    /// Shows how far the run is, and what all runs of the job have used. Written at the next opportunity where that is
    /// `urgent`, else at least once a second.
    pub fn spend(&self, progress: Progress, spent: Option<Spent>, urgent: bool) {
        let mut pending = self.lock();
        if urgent {
            pending.progress_written = None;
        }
        let unwritten = pending.progress.take().and_then(|(_, spent)| spent);
        pending.progress = Some((progress, spent.or(unwritten)));
        self.wake(&mut pending);
    }

    /// Resolves when what the run draws on is used up.
    pub async fn used_up(&self) {
        let mut over = self.over.subscribe();
        // The sender lives as long as this.
        let _ = over.wait_for(Option::is_some).await;
    }

    pub fn over(&self) -> Option<OverBudget> {
        self.over.borrow().clone()
    }

    /// The run waits for its turn, which is no time of its own.
    pub fn wait(&self) {
        self.began.send_replace(None);
    }

    /// The run's time counts from now on.
    pub fn begin(&self) {
        self.began.send_replace(Some(Instant::now()));
    }

    pub fn began(&self) -> watch::Receiver<Option<Instant>> {
        self.began.subscribe()
    }

    /// Keeps the run's locks until its end is written, which they guard.
    pub fn keep_locks(&self, locks: RunLocks) {
        *self.locks.lock().unwrap_or_else(PoisonError::into_inner) = Some(locks);
    }

    pub fn take_locks(&self) -> Option<RunLocks> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.take()
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_lost(&self) -> bool {
        *self.interruption.borrow() == Some(Interruption::LeaseLost)
            || self.worker.over.is_cancelled()
    }

    /// Makes sure that a task writes what was just added.
    fn wake(&self, pending: &mut Pending) {
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
                this.flush(false).await;
                let mut pending = this.lock();
                if pending.is_empty() || this.is_lost() {
                    pending.flushing = false;
                    return;
                }
            }
        });
    }

    async fn flush(&self, all: bool) {
        let _writing = self.writing.lock().await;
        let said = self.lock().take(all);
        if said.0.is_empty() && said.1.is_none() && said.2.is_empty() {
            return;
        }
        self.put(said).await;
    }

    async fn put(&self, (logs, progress, checkpoints): Said) {
        let (progress, spent) = progress.unzip();
        let bytes: usize = logs.iter().map(|chunk| chunk.text.len()).sum();
        let report = Report {
            progress,
            spent: spent.flatten(),
            checkpoints,
            logs,
            ..self.empty_report()
        };
        self.write(report).await;
        self.room.add_permits(bytes);
    }

    /// True when the report is in the store; false when the job is not ours any more.
    async fn write(&self, report: Report) -> bool {
        loop {
            match self.worker.writes.write(report.clone()).await {
                Written::Yes => return true,
                Written::Over(over) => {
                    self.over.send_replace(Some(over));
                    return true;
                }
                Written::Fenced => {
                    self.worker
                        .running
                        .interrupt(self.job, Interruption::LeaseLost);
                    return false;
                }
                Written::NotNow => tokio::time::sleep(RETRY).await,
            }
            if self.is_lost() {
                return false;
            }
        }
    }

    fn empty_report(&self) -> Report {
        Report {
            tenant: self.tenant,
            job: self.job,
            fence: self.fence,
            attempt: self.attempt,
            progress: None,
            spent: None,
            checkpoints: Vec::new(),
            logs: Vec::new(),
            artifacts: Vec::new(),
        }
    }

    /// Adds a piece of at most [`CHUNK_BYTES`] to the log, or notes once that the log is full.
    fn append(&self, stream: LogStream, piece: &str) {
        let limit = self.worker.config.log_limit_bytes;
        let mut pending = self.lock();
        if pending.cut_off {
            return self.room.add_permits(piece.len());
        }
        pending.kept_bytes += piece.len() as u64;
        if pending.kept_bytes > limit {
            pending.cut_off = true;
            self.room.add_permits(piece.len());
            let note =
                format!("the log reached its limit of {limit} bytes; the rest is not kept\n");
            // Not counted against the room: it is one line a run.
            self.room.forget_permits(note.len());
            self.push(&mut pending, LogStream::System, &note);
        } else {
            self.push(&mut pending, stream, piece);
        }
        self.wake(&mut pending);
    }

    fn push(&self, pending: &mut Pending, stream: LogStream, text: &str) {
        if let Some(last) = pending.logs.last_mut()
            && last.stream == stream
            && last.text.len() + text.len() <= CHUNK_BYTES
        {
            return last.text.push_str(text);
        }
        pending.next_number += 1;
        pending.logs.push(LogChunk {
            cursor: LogCursor {
                attempt: self.attempt,
                number: pending.next_number,
            },
            at: self.worker.ports.clock.now(),
            stream,
            text: text.to_owned(),
        });
    }

    fn new_artifact(
        &self,
        name: &str,
        media_type: &str,
        bytes: u64,
        sha256: String,
    ) -> Result<Artifact, HandlerError> {
        let mut pending = self.lock();
        if pending.artifacts >= ARTIFACTS {
            let message =
                format!("`{name}` was not kept: a run may keep at most {ARTIFACTS} files");
            return Err(HandlerError::Fail(JobError::new("TOO_MANY_FILES", message)));
        }
        pending.artifacts += 1;
        let now = self.worker.ports.clock.now();
        Ok(Artifact {
            id: ArtifactId::from_uuid(self.worker.ports.ids.next(now)),
            attempt: self.attempt,
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            bytes,
            sha256,
            created_at: now,
        })
    }

    async fn record(&self, artifact: Artifact) -> Result<(), HandlerError> {
        let report = Report {
            artifacts: vec![artifact],
            ..self.empty_report()
        };
        if self.write(report).await {
            Ok(())
        } else {
            Err(HandlerError::Interrupted(Interruption::LeaseLost))
        }
    }
}

#[async_trait]
impl RunContext for JobContext {
    async fn log(&self, stream: LogStream, text: &str) {
        for piece in pieces(text) {
            let permits = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            // The room is never closed.
            if let Ok(room) = self.room.acquire_many(permits).await {
                room.forget();
            }
            self.append(stream, piece);
        }
    }

    async fn progress(&self, progress: Progress) {
        self.spend(progress, None, false);
    }

    async fn checkpoint(&self, data: Value) {
        let mut pending = self.lock();
        if pending.checkpoints.len() >= WAITING_CHECKPOINTS {
            pending.checkpoints.remove(0);
        }
        pending.checkpoints.push(data);
        self.wake(&mut pending);
    }

    async fn keep_file(
        &self,
        name: &str,
        media_type: &str,
        path: &Path,
    ) -> Result<(), HandlerError> {
        let (bytes, sha256) = digest(path).await.map_err(|error| {
            let message = format!("the file `{name}` cannot be read to be kept: {error}");
            HandlerError::Fail(JobError::new("FILE_NOT_KEPT", message))
        })?;
        let artifact = self.new_artifact(name, media_type, bytes, sha256)?;
        let put = self
            .worker
            .ports
            .blobs
            .put_file(self.tenant, artifact.id, path);
        put.await.map_err(|error| not_stored(name, &error))?;
        self.record(artifact).await
    }

    async fn keep(&self, name: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), HandlerError> {
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let artifact = self.new_artifact(name, media_type, bytes.len() as u64, sha256)?;
        let put = self.worker.ports.blobs.put(self.tenant, artifact.id, bytes);
        put.await.map_err(|error| not_stored(name, &error))?;
        self.record(artifact).await
    }

    async fn interrupted(&self) -> Interruption {
        let mut interruption = self.interruption.clone();
        let why = interruption.wait_for(Option::is_some).await;
        why.ok()
            .and_then(|why| *why)
            .unwrap_or(Interruption::LeaseLost)
    }
}

fn not_stored(name: &str, error: &BlobError) -> HandlerError {
    let message = format!("the file `{name}` could not be kept: {error}");
    HandlerError::Retry(JobError::new("ARTIFACT_STORE_FAILED", message))
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

/// Size and SHA-256 of a file, read in pieces.
async fn digest(path: &Path) -> std::io::Result<(u64, String)> {
    let path = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || {
        let mut hasher = Sha256::new();
        let bytes = std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
        Ok((bytes, hex::encode(hasher.finalize())))
    });
    hashing.await.map_err(std::io::Error::other)?
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
