//! What a session may use before it stops to ask.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{JobError, Progress, Violations};

/// The code of a run that came to its budget's end.
pub const BUDGET_EXCEEDED: &str = "BUDGET_EXCEEDED";
/// Limits beyond this are none.
const COUNT_MAX: u64 = 1_000_000_000_000;

/// At least one limit; what a session has used is what its agent reports of it, over all its runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Tokens that models read and wrote, together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// In the currency of the worker's prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Answers of a model, or what else an agent counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    #[serde(default)]
    pub on_limit: OnLimit,
}

/// What becomes of a session whose budget is used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// Resuming it grants the same budget once more.
    #[default]
    Pause,
    Stop,
}

/// What was used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost: f64,
    pub steps: u64,
}

impl Spent {
    /// As a run says it: `input_tokens`, `output_tokens`, `cost`, and `steps` or `answers`.
    pub fn reported(progress: &Progress) -> Self {
        let count = |name: &str| progress.data.get(name).and_then(Value::as_u64);
        Self {
            input_tokens: count("input_tokens").unwrap_or_default(),
            output_tokens: count("output_tokens").unwrap_or_default(),
            cost: progress
                .data
                .get("cost")
                .and_then(Value::as_f64)
                .unwrap_or_default(),
            steps: count("steps")
                .or_else(|| count("answers"))
                .unwrap_or_default(),
        }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost: self.cost + other.cost,
            steps: self.steps.saturating_add(other.steps),
        }
    }

    const fn tokens(self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// True when it cannot be an earlier account that went on: such a one only grows.
    pub fn is_behind(self, earlier: Self) -> bool {
        self.tokens() < earlier.tokens() || self.cost < earlier.cost || self.steps < earlier.steps
    }
}

impl Budget {
    /// What of it is used up, if anything is; `times` it was granted.
    pub fn exceeded(&self, spent: Spent, times: u32) -> Option<JobError> {
        let count = |used: u64, limit: Option<u64>, what: &str| {
            let limit = limit?.saturating_mul(times.into());
            (used >= limit).then(|| format!("{used} of {limit} {what}"))
        };
        let cost = self.cost.and_then(|limit| {
            let limit = limit * f64::from(times);
            (spent.cost >= limit).then(|| format!("a cost of {} of {limit}", spent.cost))
        });
        let used = count(spent.tokens(), self.tokens, "tokens")
            .or_else(|| count(spent.steps, self.steps, "steps"))
            .or(cost)?;
        let next = match self.on_limit {
            OnLimit::Pause => "; resume it to grant the same once more, or stop it",
            OnLimit::Stop => "",
        };
        let message = format!("the session's budget is used up: {used}{next}");
        Some(JobError::new(BUDGET_EXCEEDED, message))
    }

    pub(crate) fn check(&self, violations: &mut Violations) {
        if self.tokens.is_none() && self.cost.is_none() && self.steps.is_none() {
            violations.add("/budget", "names no limit; give tokens, cost or steps");
        }
        for (pointer, limit) in [
            ("/budget/tokens", self.tokens),
            ("/budget/steps", self.steps),
        ] {
            if let Some(limit) = limit {
                violations.range(pointer, limit, 1, COUNT_MAX);
            }
        }
        let sensible = |cost: f64| cost.is_finite() && cost > 0.0 && cost <= 1e12;
        if self.cost.is_some_and(|cost| !sensible(cost)) {
            violations.add("/budget/cost", "must be a number above 0");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spent(input_tokens: u64, cost: f64, steps: u64) -> Spent {
        Spent {
            input_tokens,
            output_tokens: 5,
            cost,
            steps,
        }
    }

    #[test]
    fn a_limit_is_reached_at_its_number_and_grows_with_every_grant() {
        let budget = Budget {
            tokens: Some(100),
            cost: Some(1.5),
            ..Budget::default()
        };
        assert_eq!(budget.exceeded(spent(94, 1.4, 900), 1), None);
        let error = budget.exceeded(spent(95, 0.0, 0), 1).unwrap();
        assert!(
            error.message.contains("100 of 100 tokens"),
            "{}",
            error.message
        );
        assert_eq!(budget.exceeded(spent(95, 1.5, 0), 2), None);
        assert!(budget.exceeded(spent(0, 3.0, 0), 2).is_some());
    }

    #[test]
    fn what_a_run_says_is_read_and_a_new_account_is_known() {
        let mut progress = Progress::default();
        progress.data.extend([
            ("input_tokens".to_owned(), json!(7)),
            ("answers".to_owned(), json!(2)),
            ("cost".to_owned(), json!("no number")),
        ]);
        let said = Spent::reported(&progress);
        assert_eq!((said.input_tokens, said.steps, said.cost), (7, 2, 0.0));
        assert!(said.is_behind(spent(90, 0.0, 1)));
        assert!(!spent(90, 0.2, 3).is_behind(spent(90, 0.1, 3)));
    }

    #[test]
    fn a_budget_without_a_limit_is_none() {
        let pointers = |budget: Budget| {
            let mut violations = Violations::default();
            budget.check(&mut violations);
            let pointers = violations.0.into_iter().map(|it| it.pointer);
            pointers.collect::<Vec<String>>()
        };
        assert_eq!(pointers(Budget::default()), ["/budget"]);
        let wrong = Budget {
            tokens: Some(0),
            cost: Some(-1.0),
            ..Budget::default()
        };
        assert_eq!(pointers(wrong), ["/budget/tokens", "/budget/cost"]);
    }
}
