//! Keeps the account of what a session's agent uses, over all its runs. Whether that is too much is the store's to say,
//! with every report: other sessions may draw on the same budget.
//!
//! An agent goes on with its account, or begins a new one: then what the runs before used is added.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use application::ports::{HandlerError, Standing};
use domain::{Budget, Job, JobError, OverBudget, Progress, Spent};
use serde_json::json;
use telemetry::Metrics;

use crate::life::Worker;

pub(super) struct Meter {
    metrics: Arc<Metrics>,
    budget: Option<Budget>,
    /// By the runs before.
    earlier: Spent,
    account: Mutex<Account>,
}

#[derive(Default)]
struct Account {
    /// What is added to what the agent says.
    base: Spent,
    /// All that was said.
    total: Spent,
    began: bool,
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
        Ok(Self {
            metrics: Arc::clone(&worker.metrics),
            budget,
            earlier: spent,
            account: Mutex::new(Account {
                total: spent,
                ..Account::default()
            }),
        })
    }

    /// The same progress, with what all runs used, if they used anything.
    pub(super) fn take(&self, mut progress: Progress) -> (Progress, Option<Spent>) {
        let said = Spent::reported(&progress);
        let mut account = self.account();
        if !account.began {
            if said.is_nothing() {
                return (progress, None);
            }
            account.began = true;
            if said.is_behind(self.earlier) {
                account.base = self.earlier;
            }
        }
        let total = account.base.plus(said).at_least(account.total);
        self.count(account.total, total);
        account.total = total;
        if self.budget.is_none() && total == said {
            return (progress, Some(total));
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
        (progress, Some(total))
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

async fn standing(worker: &Worker, job: &Job) -> Result<Standing, HandlerError> {
    let failed = |why: String| {
        let message = format!("what the session has used could not be read: {why}");
        HandlerError::Retry(JobError::new("SPENDING_NOT_READ", message))
    };
    let standing = worker.ports.engine.standing(job.tenant, job.id).await;
    standing
        .map_err(|error| failed(error.to_string()))?
        .ok_or_else(|| failed("the store does not know the session".to_owned()))
}
