//! A run context that remembers what a run said, and interrupts it when a test wants so.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::{JobError, LogStream, Progress};
use serde_json::Value;
use tokio::sync::watch;

use crate::ports::{HandlerError, Interruption, RunContext};

/// No real process of a test needs longer to say something.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a run has said so far.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    pub log: Vec<(LogStream, String)>,
    pub progress: Vec<Progress>,
    pub checkpoints: Vec<Value>,
    /// Kept files by name: media type and bytes.
    pub files: BTreeMap<String, (String, Vec<u8>)>,
}

impl Recorded {
    /// All text of one stream.
    pub fn text(&self, stream: LogStream) -> String {
        self.log
            .iter()
            .filter(|(other, _)| *other == stream)
            .map(|(_, text)| text.as_str())
            .collect()
    }
}

pub struct RecordingContext {
    recorded: Mutex<Recorded>,
    said: watch::Sender<u64>,
    interruption: watch::Sender<Option<Interruption>>,
}

impl Default for RecordingContext {
    fn default() -> Self {
        Self {
            recorded: Mutex::default(),
            said: watch::Sender::new(0),
            interruption: watch::Sender::new(None),
        }
    }
}

impl RecordingContext {
    pub fn recorded(&self) -> Recorded {
        self.recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn interrupt(&self, reason: Interruption) {
        self.interruption.send_replace(Some(reason));
    }

    /// Waits until what was said satisfies `enough`; a minute without it breaks the test.
    pub async fn wait_until(&self, enough: impl Fn(&Recorded) -> bool) -> Recorded {
        let mut said = self.said.subscribe();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                said.mark_unchanged();
                let recorded = self.recorded();
                if enough(&recorded) {
                    return recorded;
                }
                said.changed().await.expect("the context holds the sender");
            }
        });
        waited
            .await
            .unwrap_or_else(|_| panic!("the run said only {:?}", self.recorded()))
    }

    fn record(&self, add: impl FnOnce(&mut Recorded)) {
        add(&mut self.recorded.lock().unwrap_or_else(PoisonError::into_inner));
        self.said.send_modify(|count| *count += 1);
    }
}

#[async_trait]
impl RunContext for RecordingContext {
    async fn log(&self, stream: LogStream, text: &str) {
        self.record(|recorded| recorded.log.push((stream, text.to_owned())));
    }

    async fn progress(&self, progress: Progress) {
        self.record(|recorded| recorded.progress.push(progress));
    }

    async fn checkpoint(&self, data: Value) {
        self.record(|recorded| recorded.checkpoints.push(data));
    }

    async fn keep_file(
        &self,
        name: &str,
        media_type: &str,
        path: &Path,
    ) -> Result<(), HandlerError> {
        let bytes = std::fs::read(path)
            .map_err(|error| HandlerError::Fail(JobError::new("KEEP_FAILED", error.to_string())))?;
        self.keep(name, media_type, bytes).await
    }

    async fn keep(&self, name: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), HandlerError> {
        self.record(|recorded| {
            recorded
                .files
                .insert(name.to_owned(), (media_type.to_owned(), bytes));
        });
        Ok(())
    }

    async fn interrupted(&self) -> Interruption {
        let mut interruption = self.interruption.subscribe();
        let reason = interruption
            .wait_for(Option::is_some)
            .await
            .expect("the context holds the sender");
        reason.expect("waited for")
    }
}
