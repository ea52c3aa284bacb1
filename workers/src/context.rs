//! What a run works with: the one way in which it reaches the store, and hears that it must end.
//!
//! `said` is what it tells (log, progress, checkpoints), `kept` the files that it leaves, `spent` what it uses of its
//! budgets. All of it is written under the run's fence: once the job is another worker's, nothing more is kept.

mod kept;
mod said;
mod spent;

use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use application::ports::{HandlerError, Interruption, Report, RunContext};
use async_trait::async_trait;
use domain::{Job, JobId, LogStream, OverBudget, Progress, TenantId};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use self::said::Saying;
use crate::life::Worker;
use crate::locks::RunLocks;
use crate::write::Written;

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
    saying: Saying,
    /// Files kept so far.
    files: AtomicU32,
    /// Locks that the run works under.
    locks: Mutex<Option<RunLocks>>,
    this: Weak<Self>,
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
            saying: Saying::default(),
            files: AtomicU32::new(0),
            locks: Mutex::default(),
            this: this.clone(),
        })
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

    fn is_lost(&self) -> bool {
        *self.interruption.borrow() == Some(Interruption::LeaseLost)
            || self.worker.over.is_cancelled()
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
}

#[async_trait]
impl RunContext for JobContext {
    async fn log(&self, stream: LogStream, text: &str) {
        self.say(stream, text).await;
    }

    async fn progress(&self, progress: Progress) {
        self.spend(progress, None, false);
    }

    async fn checkpoint(&self, data: Value) {
        self.add_checkpoint(data);
    }

    async fn keep_file(
        &self,
        name: &str,
        media_type: &str,
        path: &Path,
    ) -> Result<(), HandlerError> {
        self.store_file(name, media_type, path).await
    }

    async fn keep(&self, name: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), HandlerError> {
        self.store_bytes(name, media_type, bytes).await
    }

    async fn interrupted(&self) -> Interruption {
        let mut interruption = self.interruption.clone();
        let why = interruption.wait_for(Option::is_some).await;
        why.ok()
            .and_then(|why| *why)
            .unwrap_or(Interruption::LeaseLost)
    }
}
