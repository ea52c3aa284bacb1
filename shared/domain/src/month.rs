//! What a tenant may use in a calendar month, by UTC, and what becomes of its sessions when that is used up.

use std::fmt;

use chrono::{Datelike as _, NaiveDate, NaiveTime};
use serde::{Deserialize, Serialize};

use crate::budget::{COUNT_MAX, is_cost_limit};
use crate::{BUDGET_EXCEEDED, JobError, OverBudget, Timestamp, Violations, Whose};

/// A calendar month in UTC; shown as `2026-11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: i32,
    /// 1 to 12.
    month: u32,
}

impl Month {
    /// The one that `at` lies in.
    pub fn of(at: Timestamp) -> Self {
        Self {
            year: at.year(),
            month: at.month(),
        }
    }

    /// When the next one begins.
    pub fn ends(self) -> Timestamp {
        let (year, month) = match self.month {
            12 => (self.year + 1, 1),
            month => (self.year, month + 1),
        };
        let first = NaiveDate::from_ymd_opt(year, month, 1);
        // The calendar ends long after all of us.
        first.map_or(Timestamp::MAX_UTC, |day| {
            day.and_time(NaiveTime::MIN).and_utc()
        })
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// What the sessions of a tenant may use together in each month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MonthlyLimits {
    /// Tokens that models read and wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// As agents report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// What they have used in one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MonthUse {
    pub tokens: u64,
    pub cost_usd: f64,
}

impl MonthlyLimits {
    /// What of them is used up, in words.
    pub fn used_up(&self, used: MonthUse) -> Option<String> {
        let tokens = || {
            let limit = self.tokens?;
            (used.tokens >= limit).then(|| format!("{} of {limit} tokens", used.tokens))
        };
        let cost = || {
            let limit = self.cost_usd?;
            let used = used.cost_usd;
            (used >= limit).then(|| format!("a cost of {used} of {limit}"))
        };
        tokens().or_else(cost)
    }

    /// A run of the tenant has to end, because the month that `now` lies in is used up.
    pub fn over(&self, used: MonthUse, now: Timestamp) -> Option<OverBudget> {
        let what = self.used_up(used)?;
        let month = Month::of(now);
        let message = format!(
            "the tenant's budget of the month {month} is used up: {what}; resume the session when the next month has \
             begun, or when the tenant's monthly limit was raised"
        );
        Some(OverBudget {
            whose: Whose::Tenant,
            error: JobError::new(BUDGET_EXCEEDED, message),
            stop: false,
        })
    }

    pub(crate) fn check(&self, violations: &mut Violations) {
        if let Some(tokens) = self.tokens {
            violations.range("/monthly_tokens", tokens, 1, COUNT_MAX);
        }
        if self.cost_usd.is_some_and(|cost| !is_cost_limit(cost)) {
            violations.add("/monthly_cost_usd", "must be a number above 0");
        }
    }
}

/// What to do with a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitChange<T> {
    #[default]
    Keep,
    /// There is none any more.
    Lift,
    Set(T),
}

impl<T> LimitChange<T> {
    pub fn apply(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::Lift => None,
            Self::Set(limit) => Some(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_month_turns_at_midnight_by_utc() {
        for (instant, month, ends) in [
            (
                "2026-11-30T23:59:59.999999Z",
                "2026-11",
                "2026-12-01T00:00:00Z",
            ),
            ("2026-12-01T00:00:00Z", "2026-12", "2027-01-01T00:00:00Z"),
            ("2028-02-29T12:00:00Z", "2028-02", "2028-03-01T00:00:00Z"),
        ] {
            let of = Month::of(at(instant));
            assert_eq!((of.to_string().as_str(), of.ends()), (month, at(ends)));
        }
        assert!(Month::of(at("2026-12-01T00:00:00Z")) < Month::of(at("2027-01-01T00:00:00Z")));
    }

    #[test]
    fn a_month_is_used_up_at_its_number() {
        let both = MonthlyLimits {
            tokens: Some(100),
            cost_usd: Some(2.5),
        };
        let used = |tokens, cost_usd| MonthUse { tokens, cost_usd };
        let table = [
            (both, used(99, 2.4), None),
            (both, used(100, 0.0), Some("100 of 100 tokens")),
            (both, used(0, 3.0), Some("a cost of 3 of 2.5")),
            (MonthlyLimits::default(), used(u64::MAX, 1e9), None),
        ];
        for (limits, used, expected) in table {
            assert_eq!(limits.used_up(used).as_deref(), expected);
            let over = limits.over(used, at("2026-11-05T00:00:00Z"));
            assert_eq!(over.is_some(), expected.is_some());
            if let Some(over) = over {
                assert!(over.error.message.contains("month 2026-11"));
                assert!(!over.stop);
            }
        }
    }

    #[test]
    fn a_limit_is_kept_lifted_or_set() {
        assert_eq!(LimitChange::Keep.apply(Some(1)), Some(1));
        assert_eq!(LimitChange::Lift.apply(Some(1)), None);
        assert_eq!(LimitChange::Set(2).apply(None), Some(2));
    }
}
