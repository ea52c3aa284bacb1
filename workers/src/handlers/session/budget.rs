//! Holds what a session's agent reports against its budget, with every report.
//!
//! What counts is what all runs used together, and all rounds of a run. An agent goes on with its account, or begins a new
//! one: then what was used before is added.

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
    account: Mutex<Account>,
    over: watch::Sender<Option<JobError>>,
}

/// What the agent says, run by run and round by round.
#[derive(Default)]
struct Account {
    /// What is added to what the agent says.
    base: Spent,
    /// What it said last; of the runs before, what stands in the job's progress.
    last: Spent,
    /// It has said how much since this run or round began.
    began: bool,
}

impl Account {
    /// All that was used, when the agent says `said`.
    fn take(&mut self, said: Spent) -> Spent {
        // It speaks of something else.
        if said == Spent::default() {
            return self.base.plus(self.last);
        }
        if !self.began && said.is_behind(self.last) {
            self.base = self.base.plus(self.last);
        }
        self.began = true;
        self.last = said;
        self.base.plus(said)
    }
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
        let earlier = job.progress.as_ref().map(Spent::reported);
        Ok(Self {
            budget,
            times,
            account: Mutex::new(Account {
                last: earlier.unwrap_or_default(),
                ..Account::default()
            }),
            over: watch::Sender::new(None),
        })
    }

    /// The same progress, with what all runs used.
    pub(super) fn take(&self, mut progress: Progress) -> Progress {
        let Some(budget) = &self.budget else {
            return progress;
        };
        let said = Spent::reported(&progress);
        let total = self.account().take(said);
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

    /// The agent goes on, or begins an account anew, as with a run.
    pub(super) fn begin_round(&self) {
        self.account().began = false;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(tokens: u64) -> Spent {
        Spent {
            input_tokens: tokens,
            ..Spent::default()
        }
    }

    /// What was used by then, run or round by run or round.
    fn totals(earlier: u64, rounds: &[&[u64]]) -> Vec<u64> {
        let mut account = Account {
            last: spent(earlier),
            ..Account::default()
        };
        let mut totals = Vec::new();
        for round in rounds {
            account.began = false;
            totals.extend(
                round
                    .iter()
                    .map(|&said| account.take(spent(said)).input_tokens),
            );
        }
        totals
    }

    #[test]
    fn an_account_goes_on_or_begins_anew() {
        assert_eq!(totals(0, &[&[10, 20]]), [10, 20]);
        assert_eq!(
            totals(50, &[&[60, 70]]),
            [60, 70],
            "it goes on with the run before"
        );
        assert_eq!(totals(50, &[&[0, 10, 60]]), [50, 60, 110], "it begins anew");
        assert_eq!(
            totals(0, &[&[10, 20, 0], &[0, 5, 30], &[8]]),
            [10, 20, 20, 20, 25, 50, 58]
        );
        assert_eq!(totals(50, &[&[10, 20], &[30], &[40]]), [60, 70, 80, 90]);
    }
}
