//! A session and all that belong to it draw on the same budgets: its own, and those of all above it.
//!
//! Knows nothing of how what they use is counted: a store keeps one account for each session that names a budget, to
//! which everything counts that it and its descendants use.

use std::collections::BTreeMap;

use crate::{BUDGET_EXCEEDED, Budget, JobError, JobId, OnLimit, Used};

/// Generations of a family, that of its first session included. Each report is counted in as many accounts at most.
pub const FAMILY_DEPTH_MAX: usize = 16;

/// Whose limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The session's own.
    Session,
    /// That of a session above it.
    Family,
    /// The month of its tenant.
    Tenant,
}

impl Whose {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Family => "family",
            Self::Tenant => "tenant",
        }
    }
}

/// A run has to end, because something that it draws on is used up.
#[derive(Debug, Clone, PartialEq)]
pub struct OverBudget {
    pub whose: Whose,
    /// Names what is used up, and what to do about it.
    pub error: JobError,
    /// It is stopped, instead of being paused.
    pub stop: bool,
}

/// The account of a session that names a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Account {
    pub limits: Budget,
    /// How often it was granted.
    pub times: u32,
    /// By the session and its descendants.
    pub used: Used,
}

impl Account {
    /// What of it is used up, in words.
    pub fn used_up(&self) -> Option<String> {
        self.limits.used_up(self.used, self.times)
    }

    /// With so much granted that something of it is left.
    #[must_use]
    pub fn granted(self) -> Self {
        Self {
            times: self.limits.granted(self.used, self.times),
            ..self
        }
    }

    pub fn stops(&self) -> bool {
        self.limits.on_limit == OnLimit::Stop
    }

    fn over(&self, owner: JobId, job: JobId) -> Option<OverBudget> {
        let used = self.used_up()?;
        let (whose, what) = if owner == job {
            (Whose::Session, "the session's budget".to_owned())
        } else {
            let what = format!("the budget of session {owner}, to whose family this one belongs,");
            (Whose::Family, what)
        };
        let next = match self.limits.on_limit {
            OnLimit::Pause => "; resume it to grant the same once more, or stop it",
            OnLimit::Stop => "",
        };
        let message = format!("{what} is used up: {used}{next}");
        Some(OverBudget {
            whose,
            error: JobError::new(BUDGET_EXCEEDED, message),
            stop: self.stops(),
        })
    }
}

/// What a job draws on that is used up. A budget that stops it comes before one that pauses it, its own before that of
/// its parent, and so on up to that of the first of its `ancestors`.
pub fn over_budget(
    job: JobId,
    ancestors: &[JobId],
    accounts: &BTreeMap<JobId, Account>,
) -> Option<OverBudget> {
    let line = std::iter::once(&job).chain(ancestors.iter().rev());
    let over = |owner: &JobId| accounts.get(owner)?.over(*owner, job);
    let all: Vec<OverBudget> = line.filter_map(over).collect();
    let stops = all.iter().find(|over| over.stop);
    stops.or_else(|| all.first()).cloned()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> JobId {
        JobId::from_uuid(Uuid::from_u128(number))
    }

    fn account(limit: u64, used: u64, on_limit: OnLimit) -> Account {
        Account {
            limits: Budget {
                tokens: Some(limit),
                on_limit,
                ..Budget::default()
            },
            times: 1,
            used: Used {
                tokens: used,
                ..Used::default()
            },
        }
    }

    #[test]
    fn the_first_that_is_used_up_is_named_and_one_that_stops_comes_before() {
        use OnLimit::{Pause, Stop};
        // The first of the family, its child, and the job itself: limit and use of each; who is named.
        let table = [
            ([(100, 99, Pause), (50, 49, Pause), (10, 9, Pause)], None),
            (
                [(100, 99, Pause), (50, 49, Pause), (10, 10, Pause)],
                Some((3, false)),
            ),
            (
                [(100, 100, Pause), (50, 49, Pause), (10, 9, Pause)],
                Some((1, false)),
            ),
            (
                [(100, 100, Pause), (50, 60, Pause), (10, 9, Pause)],
                Some((2, false)),
            ),
            (
                [(100, 100, Stop), (50, 60, Pause), (10, 10, Pause)],
                Some((1, true)),
            ),
        ];
        for (accounts, expected) in table {
            let accounts = (1..)
                .zip(accounts)
                .map(|(number, (limit, used, on_limit))| {
                    (id(number), account(limit, used, on_limit))
                });
            let over = over_budget(id(3), &[id(1), id(2)], &accounts.collect());
            let Some((owner, stop)) = expected else {
                assert_eq!(over, None);
                continue;
            };
            let over = over.expect("it is used up");
            let own = owner == 3;
            assert_eq!(over.stop, stop);
            assert_eq!(over.whose, if own { Whose::Session } else { Whose::Family });
            let names = over.error.message.contains(&id(owner).to_string());
            assert_eq!(names, !own, "{}", over.error.message);
        }
    }

    #[test]
    fn ancestors_without_a_budget_limit_nothing() {
        let accounts = BTreeMap::from([(id(1), account(5, 5, OnLimit::Pause))]);
        assert_eq!(over_budget(id(3), &[id(2)], &accounts), None);
        let granted = account(5, 23, OnLimit::Pause).granted();
        assert_eq!((granted.times, granted.used_up()), (5, None));
    }
}
