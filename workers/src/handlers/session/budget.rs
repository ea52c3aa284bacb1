//! Holds what a session's agent reports against its budget, with every report.
//!
//! What counts is what all runs used together. An agent goes on with its account, or begins a new one: then what the runs
//! before used stands in the job's progress, and is added.

use std::sync::{Mutex, MutexGuard, PoisonError};

use application::ports::HandlerError;
use domain::{AttemptOutcome, BUDGET_EXCEEDED, Budget, Job, JobError, OnLimit, Progress, Spent};
use serde_json::json;
use tokio::sync::watch;

use crate::life::Worker;

pub(super) struct Meter {
    budget: Option<Budget>,
    /// How often the budget was granted: once, and once more with each resume.
    times: u32,
    /// By the runs before.
    earlier: Spent,
    account: Mutex<Account>,
    over: watch::Sender<Option<JobError>>,
}

#[derive(Default)]
struct Account {
    /// What is added to what the agent says.
    base: Spent,
    began: bool,
}

impl Meter {
    pub(super) async fn new(
        worker: &Worker,
        job: &Job,
        budget: Option<Budget>,
    ) -> Result<Self, HandlerError> {
        let times = match budget {
            Some(_) if job.attempt > 1 => 1 + resumed(worker, job).await?,
            _ => 1,
        };
        Ok(Self {
            budget,
            times,
            earlier: job
                .progress
                .as_ref()
                .map(Spent::reported)
                .unwrap_or_default(),
            account: Mutex::default(),
            over: watch::Sender::new(None),
        })
    }

    /// The same progress, with what all runs used.
    pub(super) fn take(&self, mut progress: Progress) -> Progress {
        let Some(budget) = &self.budget else {
            return progress;
        };
        let said = Spent::reported(&progress);
        let total = {
            let mut account = self.account();
            if !account.began {
                account.began = true;
                if said.is_behind(self.earlier) {
                    account.base = self.earlier;
                }
            }
            account.base.plus(said)
        };
        let fields = [
            ("input_tokens", json!(total.input_tokens)),
            ("output_tokens", json!(total.output_tokens)),
            ("cost", json!(total.cost)),
            ("steps", json!(total.steps)),
        ];
        progress
            .data
            .extend(fields.map(|(name, value)| (name.to_owned(), value)));
        if let Some(error) = budget.exceeded(total, self.times) {
            self.over.send_if_modified(|over| {
                let is_first = over.is_none();
                over.get_or_insert(error);
                is_first
            });
        }
        progress
    }

    /// Resolves when the budget is used up.
    pub(super) async fn used_up(&self) {
        let mut over = self.over.subscribe();
        // The sender lives as long as this.
        let _ = over.wait_for(Option::is_some).await;
    }

    /// The run's end, where it is the budget's.
    pub(super) fn verdict(&self) -> Option<HandlerError> {
        let error = self.over.borrow().clone()?;
        let stop = self.budget.is_some_and(|it| it.on_limit == OnLimit::Stop);
        Some(HandlerError::OverBudget { error, stop })
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each run that ended so was followed by a person's word to go on.
async fn resumed(worker: &Worker, job: &Job) -> Result<u32, HandlerError> {
    let attempts = worker.ports.jobs.attempts(job.tenant, job.id).await;
    let attempts = attempts.map_err(|error| {
        let message = format!("the session's runs could not be read: {error}");
        HandlerError::Retry(JobError::new("RUNS_NOT_READ", message))
    })?;
    let paused = attempts.into_iter().flatten().filter(|attempt| {
        let error = attempt.error.as_ref();
        attempt.outcome == Some(AttemptOutcome::Paused)
            && error.is_some_and(|error| error.code == BUDGET_EXCEEDED)
    });
    Ok(u32::try_from(paused.count()).unwrap_or(u32::MAX - 1))
}
