//! Keeps the account of what a session's agent uses, over all its runs. Whether that is too much is the store's to say,
//! with every report: other sessions may draw on the same budget.
//!
//! What counts is what all runs used together, and all rounds of a run. An agent goes on with its account, or begins a new
//! one: then what was used before is added.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use application::ports::{HandlerError, Standing};
use domain::{Budget, Job, JobError, OverBudget, Progress, Spent};
use serde_json::json;
use telemetry::Metrics;

use crate::life::Worker;
use crate::patient;

pub(super) struct Meter {
    metrics: Arc<Metrics>,
    budget: Option<Budget>,
    account: Mutex<Account>,
}

/// What the agent says, run by run and round by round.
#[derive(Default)]
struct Account {
    /// What is added to what the agent says.
    base: Spent,
    /// What it said last; of the runs before, what the store has.
    last: Spent,
    /// All that was used.
    total: Spent,
    /// The agent has an account of runs before.
    is_own: bool,
    /// It has said how much since this run or round began.
    began: bool,
}

impl Account {
    /// `spent`: what earlier runs used. Another agent knows nothing of that, and has an account of its own.
    fn after(spent: Spent, same_agent: bool) -> Self {
        let (base, last) = if same_agent {
            (Spent::default(), spent)
        } else {
            (spent, Spent::default())
        };
        Self {
            base,
            last,
            total: spent,
            is_own: same_agent,
            began: false,
        }
    }

    /// All that was used, when the agent says `said`. What says nothing of that changes nothing.
    fn take(&mut self, said: Spent) -> Spent {
        if !said.is_nothing() {
            if !self.began && said.is_behind(self.last) {
                self.base = self.base.plus(self.last);
            }
            self.began = true;
            self.last = said;
        }
        self.total = self.base.plus(self.last).at_least(self.total);
        self.total
    }
}

impl Meter {
    /// Fails when the session may not begin, because what it draws on is used up already.
    pub(super) async fn new(
        worker: &Worker,
        job: &Job,
        budget: Option<Budget>,
    ) -> Result<Self, HandlerError> {
        // Nothing can stand against the first run of a session that draws on nobody's budget.
        let spent = if job.attempt > 1 || budget.is_some() || job.parent.is_some() {
            let standing = standing(worker, job).await?;
            if let Some(over) = standing.over {
                return Err(end(&worker.metrics, over));
            }
            standing.spent
        } else {
            Spent::default()
        };
        let same_agent = spent.is_nothing() || same_agent(worker, job).await?;
        Ok(Self {
            metrics: Arc::clone(&worker.metrics),
            budget,
            account: Mutex::new(Account::after(spent, same_agent)),
        })
    }

    /// What the agent is believed to go on from; `None` before the first word of one that another agent's work is handed to.
    pub(super) fn account_of_agent(&self) -> Option<Spent> {
        let account = self.account();
        (account.is_own || account.began).then_some(account.last)
    }

    /// The same progress, with what all runs used, if they used anything.
    pub(super) fn take(&self, mut progress: Progress) -> (Progress, Option<Spent>) {
        let said = Spent::reported(&progress);
        let mut account = self.account();
        let before = account.total;
        let total = account.take(said);
        drop(account);
        self.count(before, total);
        let spent = (!said.is_nothing()).then_some(total);
        if total.is_nothing() || self.budget.is_none() && total == said {
            return (progress, spent);
        }
        let fields = [
            ("input_tokens", json!(total.input_tokens)),
            ("output_tokens", json!(total.output_tokens)),
            ("cost", json!(total.cost)),
            ("steps", json!(total.steps)),
        ];
        progress
            .data
            .extend(fields.map(|(name, value)| (name.to_owned(), value)));
        (progress, spent)
    }

    /// The session's own budget may be used up, so the store should be told at once.
    pub(super) fn is_urgent(&self, spent: Spent) -> bool {
        self.budget
            .is_some_and(|budget| budget.used_up(spent.used(), 1).is_some())
    }

    /// The run's end because of a budget.
    pub(super) fn end(&self, over: OverBudget) -> HandlerError {
        end(&self.metrics, over)
    }

    fn count(&self, before: Spent, after: Spent) {
        let tokens = &self.metrics.session_tokens_total;
        for (direction, before, after) in [
            ("input", before.input_tokens, after.input_tokens),
            ("output", before.output_tokens, after.output_tokens),
        ] {
            tokens
                .with_label_values(&[direction])
                .inc_by(after.saturating_sub(before));
        }
        let cost = &self.metrics.session_cost_usd_total;
        cost.inc_by((after.cost - before.cost).max(0.0));
    }

    /// The agent goes on, or begins an account anew, as with a run.
    pub(super) fn begin_round(&self) {
        self.account().began = false;
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(metrics: &Metrics, over: OverBudget) -> HandlerError {
    let exceeded = &metrics.budgets_exceeded_total;
    exceeded.with_label_values(&[over.whose.as_str()]).inc();
    HandlerError::OverBudget {
        error: over.error,
        stop: over.stop,
    }
}

fn not_read(why: &str) -> HandlerError {
    let message = format!("what the session has used could not be read: {why}");
    HandlerError::Retry(JobError::new("SPENDING_NOT_READ", message))
}

/// Whether the run before this one was given the same agent, of a session that is routed.
async fn same_agent(worker: &Worker, job: &Job) -> Result<bool, HandlerError> {
    let (jobs, tenant, id) = (&worker.ports.jobs, job.tenant, job.id);
    let attempts = patient::read("the runs of a session", || jobs.attempts(tenant, id));
    let attempts = attempts
        .await
        .map_err(|error| not_read(&error.to_string()))?;
    let attempts = attempts.unwrap_or_default();
    let agent = |number: u32| {
        let attempt = attempts.iter().find(|it| it.number == number);
        attempt.and_then(|it| it.agent.as_deref())
    };
    Ok(agent(job.attempt) == agent(job.attempt.saturating_sub(1)))
}

async fn standing(worker: &Worker, job: &Job) -> Result<Standing, HandlerError> {
    let (engine, tenant, id) = (&worker.ports.engine, job.tenant, job.id);
    let standing = patient::read("what a session has used", || engine.standing(tenant, id));
    standing
        .await
        .map_err(|error| not_read(&error.to_string()))?
        .ok_or_else(|| not_read("the store does not know the session"))
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
        let mut account = Account::after(spent(earlier), true);
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

    /// Even where it says more than the one before: nobody goes on with another's account.
    #[test]
    fn another_agents_account_is_added() {
        let mut account = Account::after(spent(80), false);
        let totals = [0, 30, 100].map(|said| account.take(spent(said)).input_tokens);
        assert_eq!(totals, [80, 110, 180]);
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
