//! What an operator may choose about a worker.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Agent, AgentProbe, TrainingProvider, Workspaces};
use domain::{JobKind, Labels};

#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Shown to people beside the worker's id.
    pub host: String,
    pub kinds: Vec<JobKind>,
    /// What this worker has, for jobs that ask for it.
    pub labels: Labels,
    /// Jobs held at once.
    pub concurrency: u32,
    /// How long the worker may be silent before its jobs are taken back; renewed every third of it.
    pub lease: Duration,
    /// Patience of the reaper beyond the lease, for clocks that differ.
    pub grace: Duration,
    /// How long a leaving worker lets its jobs run before it hands them back.
    pub drain: Duration,
    /// Log bytes kept of one run.
    pub log_limit_bytes: u64,
    /// How often the relay looks without being nudged.
    pub relay_every: Duration,
    pub reconcile_every: Duration,
    /// How often jobs are looked for whose time has come.
    pub promote_every: Duration,
    /// A queue with due jobs and free slots that did not come to the end of its wake-ups for so long has lost some, unless
    /// the broker says otherwise.
    pub silence: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            kinds: JobKind::ALL.to_vec(),
            labels: Labels::default(),
            concurrency: 100,
            lease: Duration::from_secs(30),
            grace: Duration::from_secs(15),
            drain: Duration::from_mins(1),
            log_limit_bytes: 8 * 1024 * 1024,
            relay_every: Duration::from_millis(500),
            reconcile_every: Duration::from_secs(5),
            promote_every: Duration::from_millis(250),
            silence: Duration::from_secs(10),
        }
    }
}

/// What the worker runs jobs with.
pub struct Tools {
    pub agents: Vec<Arc<dyn Agent>>,
    pub trainers: Vec<Arc<dyn TrainingProvider>>,
    pub workspaces: Arc<dyn Workspaces>,
    /// Asks external agents how they are; without, this worker leaves that to others.
    pub probe: Option<Arc<dyn AgentProbe>>,
}
