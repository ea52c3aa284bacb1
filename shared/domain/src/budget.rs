//! What a session may use before it stops to ask.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Progress, Violations};

/// The code of a run that came to its budget's end.
pub const BUDGET_EXCEEDED: &str = "BUDGET_EXCEEDED";
/// Limits beyond this are none.
pub(crate) const COUNT_MAX: u64 = 1_000_000_000_000;
/// Costs beyond this are none.
pub(crate) const COST_MAX: f64 = 1e12;
/// What a session is believed to have used, at most: more is a slip or a lie, and would use up others' budgets.
pub const BELIEVED_TOKENS_MAX: u64 = 10_000_000_000;
pub const BELIEVED_COST_MAX: f64 = 1_000_000.0;
/// What a run says how many it used of.
const COUNTS: [&str; 4] = ["input_tokens", "output_tokens", "steps", "answers"];
/// Up to here a floating-point number is one whole number and no other.
const COUNTED_EXACTLY: f64 = 9_007_199_254_740_992.0;
/// How often a budget can be granted: nobody says so more often than this.
const GRANTS_MAX: u32 = 10_000;

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

/// An amount of money to a billionth: what adding in binary fractions leaves behind that is nobody's cost, and reads badly.
pub fn money(amount: f64) -> f64 {
    const BILLIONTHS: f64 = 1e9;
    // No amount is infinite: JSON has no word for it.
    (amount.clamp(-COST_MAX, COST_MAX) * BILLIONTHS).round() / BILLIONTHS
}

/// Why nobody believes that a session used so many tokens; the end of a sentence about them.
pub fn unbelievable_tokens(tokens: Option<u64>) -> Option<String> {
    let tokens = tokens.filter(|tokens| *tokens > BELIEVED_TOKENS_MAX)?;
    Some(format!(
        "must be at most {BELIEVED_TOKENS_MAX}, and is {tokens}"
    ))
}

/// Why nobody believes that a session cost so much; the end of a sentence about it.
pub fn unbelievable_cost(cost: Option<f64>) -> Option<String> {
    let cost = cost.filter(|cost| !(0.0..=BELIEVED_COST_MAX).contains(cost))?;
    Some(format!(
        "must be a number from 0 to {BELIEVED_COST_MAX}, and is {cost:e}"
    ))
}

/// How many of something a run says to have used; in languages of one kind of number, 5000 may be said as `5000.0`.
fn counted(said: &Value) -> Option<u64> {
    let whole = |number: f64| {
        let is_count = number.fract() == 0.0 && (0.0..=COUNTED_EXACTLY).contains(&number);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is a whole number within the bounds of both"
        )]
        is_count.then_some(number as u64)
    };
    let count = said.as_u64().or_else(|| said.as_f64().and_then(whole));
    count.filter(|count| *count <= BELIEVED_TOKENS_MAX)
}

/// Why what a run says to have used counts for nothing, as the end of a sentence. A run that is held to a budget must not
/// escape it by a number that nobody understands.
pub fn wrong_report(data: &Map<String, Value>) -> Option<String> {
    let given = |name: &&str| data.get(*name).filter(|value| !value.is_null());
    let count = COUNTS
        .iter()
        .find_map(|name| Some((*name, given(name).filter(|said| counted(said).is_none())?)));
    if let Some((name, said)) = count {
        let said = shortened(said);
        return Some(format!(
            "`data.{name}` must be a whole number from 0 to {BELIEVED_TOKENS_MAX}, and is {said}"
        ));
    }
    let cost = given(&"cost")?;
    match cost.as_f64() {
        Some(number) => unbelievable_cost(Some(number)).map(|why| format!("`data.cost` {why}")),
        None => Some(format!(
            "`data.cost` must be a number, and is {}",
            shortened(cost)
        )),
    }
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}

/// What the runs of one session used so far, as they say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost: f64,
    pub steps: u64,
}

impl Spent {
    /// As a run says it: `input_tokens`, `output_tokens`, `cost`, and `steps` or `answers`. What [`wrong_report`] refuses
    /// counts for nothing.
    pub fn reported(progress: &Progress) -> Self {
        let count = |name: &str| progress.data.get(name).and_then(counted);
        let cost = progress.data.get("cost").and_then(Value::as_f64);
        let cost = cost.filter(|cost| *cost <= BELIEVED_COST_MAX);
        Self {
            input_tokens: count("input_tokens").unwrap_or_default(),
            output_tokens: count("output_tokens").unwrap_or_default(),
            cost: money(cost.unwrap_or_default().max(0.0)),
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
            cost: money(self.cost + other.cost),
            steps: self.steps.saturating_add(other.steps),
        }
    }

    /// What is left of each without the other's, or nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(other.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(other.output_tokens),
            cost: money((self.cost - other.cost).max(0.0)),
            steps: self.steps.saturating_sub(other.steps),
        }
    }

    /// The greater of each: an account never goes back.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.max(other.input_tokens),
            output_tokens: self.output_tokens.max(other.output_tokens),
            cost: self.cost.max(other.cost),
            steps: self.steps.max(other.steps),
        }
    }

    /// All of it.
    pub const fn used(self) -> Used {
        Used {
            tokens: self.tokens(),
            cost: self.cost,
            steps: self.steps,
        }
    }

    /// What came to it since it was `earlier`.
    pub fn since(self, earlier: Self) -> Used {
        Used {
            tokens: self.tokens().saturating_sub(earlier.tokens()),
            cost: money((self.cost - earlier.cost).max(0.0)),
            steps: self.steps.saturating_sub(earlier.steps),
        }
    }

    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    const fn tokens(self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// True when it cannot be an earlier account that went on: such a one only grows.
    pub fn is_behind(self, earlier: Self) -> bool {
        // The same costs, added in another order, may differ by that much.
        const DUST: f64 = 1e-6;
        self.tokens() < earlier.tokens()
            || self.cost + DUST < earlier.cost
            || self.steps < earlier.steps
    }
}

/// What counts against limits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Used {
    pub tokens: u64,
    pub cost: f64,
    pub steps: u64,
}

impl Used {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost: money(self.cost + other.cost),
            steps: self.steps.saturating_add(other.steps),
        }
    }
}

impl Budget {
    /// What of it is used up, in words, if anything is; `times` it was granted.
    pub fn used_up(&self, used: Used, times: u32) -> Option<String> {
        let count = |used: u64, limit: Option<u64>, what: &str| {
            let limit = limit?.saturating_mul(times.into());
            (used >= limit).then(|| format!("{used} of {limit} {what}"))
        };
        let cost = || {
            let limit = self.cost? * f64::from(times);
            (used.cost >= limit).then(|| format!("a cost of {} of {limit}", used.cost))
        };
        count(used.tokens, self.tokens, "tokens")
            .or_else(|| count(used.steps, self.steps, "steps"))
            .or_else(cost)
    }

    /// How often it has to be granted for something of it to be left: no more than is needed for that, so that with each
    /// grant no more than the same budget is used once more.
    pub fn granted(&self, used: Used, times: u32) -> u32 {
        (times..GRANTS_MAX)
            .find(|times| self.used_up(used, *times).is_none())
            .unwrap_or(GRANTS_MAX)
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
        if self.cost.is_some_and(|cost| !is_cost_limit(cost)) {
            violations.add("/budget/cost", "must be a number above 0");
        }
    }
}

/// True of a number that costs can be held to.
pub(crate) fn is_cost_limit(cost: f64) -> bool {
    cost > 0.0 && cost <= COST_MAX
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn money_is_added_up_without_what_binary_fractions_leave() {
        assert_eq!(money(0.1 + 0.2).to_string(), "0.3");
        assert_eq!(money(0.000_225_000_000_000_000_02).to_string(), "0.000225");
        let (a, b) = (spent(0, 0.1, 0), spent(0, 0.2, 0));
        assert_eq!(a.plus(b).cost.to_string(), "0.3");
        assert_eq!(a.plus(b).since(b).cost.to_string(), "0.1");
        assert!(money(f64::MAX).is_finite() && money(f64::INFINITY).is_finite());
    }

    #[test]
    fn what_nobody_can_have_used_is_told() {
        assert_eq!(unbelievable_tokens(Some(BELIEVED_TOKENS_MAX)), None);
        assert!(unbelievable_tokens(Some(BELIEVED_TOKENS_MAX + 1)).is_some());
        for cost in [None, Some(0.0), Some(BELIEVED_COST_MAX)] {
            assert_eq!(unbelievable_cost(cost), None);
        }
        for cost in [-0.1, 1e7, 1e300, f64::NAN, f64::INFINITY] {
            assert!(unbelievable_cost(Some(cost)).is_some(), "{cost}");
        }
    }

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
        let used_up = |spent: Spent, times| budget.used_up(spent.used(), times);
        assert_eq!(used_up(spent(94, 1.4, 900), 1), None);
        assert_eq!(used_up(spent(95, 0.0, 0), 1).unwrap(), "100 of 100 tokens");
        assert_eq!(used_up(spent(95, 1.5, 0), 2), None);
        assert!(used_up(spent(0, 3.0, 0), 2).is_some());
    }

    #[test]
    fn a_grant_leaves_something_and_never_more_than_the_budget() {
        let budget = Budget {
            tokens: Some(100),
            cost: Some(1.5),
            ..Budget::default()
        };
        for (tokens, cost, times, expected) in [
            (0, 0.0, 1, 1),
            (99, 0.0, 3, 3),
            (100, 0.0, 1, 2),
            (399, 0.0, 1, 4),
            (100, 3.0, 1, 3),
            (u64::MAX, 0.0, 1, GRANTS_MAX),
        ] {
            let used = Used {
                tokens,
                cost,
                steps: 0,
            };
            assert_eq!(budget.granted(used, times), expected, "{used:?}");
        }
    }

    #[test]
    fn what_came_since_is_never_less_than_nothing() {
        let earlier = spent(90, 0.5, 3);
        let later = spent(95, 0.75, 3);
        let came = Used {
            tokens: 5,
            cost: 0.25,
            steps: 0,
        };
        assert_eq!(later.since(earlier), came);
        assert_eq!(earlier.since(later), Used::default());
        assert_eq!(earlier.at_least(later), later);
    }

    #[test]
    fn counts_are_understood_in_all_their_forms_and_nothing_else_is() {
        let data = |name: &str, said: &Value| Map::from_iter([(name.to_owned(), said.clone())]);
        for said in [json!(5000), json!(5000.0), json!(5e3)] {
            assert_eq!(counted(&said), Some(5000));
            assert_eq!(wrong_report(&data("steps", &said)), None);
        }
        for said in [
            json!("5000"),
            json!(-1),
            json!(0.5),
            json!(1e20),
            json!([1]),
        ] {
            let why = wrong_report(&data("input_tokens", &said)).unwrap();
            assert!(why.starts_with("`data.input_tokens` must be"), "{why}");
        }
        for said in [json!("9"), json!(-0.5), json!(1e9)] {
            let why = wrong_report(&data("cost", &said)).unwrap();
            assert!(why.starts_with("`data.cost` must be"), "{why}");
        }
        assert_eq!(wrong_report(&data("cost", &json!(0.25))), None);
        assert_eq!(wrong_report(&data("output_tokens", &Value::Null)), None);
        assert_eq!(wrong_report(&data("loss", &json!("low"))), None);
    }

    #[test]
    fn numbers_that_nobody_can_have_used_are_cut_off() {
        let mut progress = Progress::default();
        progress.data.extend([
            ("input_tokens".to_owned(), json!(u64::MAX)),
            ("cost".to_owned(), json!(-4.0)),
        ]);
        let said = Spent::reported(&progress);
        assert_eq!((said.input_tokens, said.cost), (0, 0.0));
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
