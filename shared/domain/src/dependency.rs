//! Jobs that wait for other jobs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{JobId, JobState};

/// What becomes of a job when one of its prerequisites ends without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DependencyRule {
    /// It fails too, with `PREREQUISITE_FAILED`.
    #[default]
    Fail,
    /// It is cancelled: nothing was wrong with it, it is just not wanted any more.
    Skip,
}

/// The text names no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rule for failed prerequisites; use fail or skip")]
pub struct UnknownRule(pub String);

impl DependencyRule {
    pub const ALL: [Self; 2] = [Self::Fail, Self::Skip];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

impl fmt::Display for DependencyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DependencyRule {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|rule| rule.as_str() == text)
            .ok_or_else(|| UnknownRule(text.chars().take(64).collect()))
    }
}

/// How a prerequisite stands, for those who wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prerequisite {
    /// Not at its end yet.
    Open,
    /// It succeeded, at least in part.
    Met,
    /// It ended otherwise.
    Failed,
}

impl Prerequisite {
    pub const fn of(state: JobState) -> Self {
        match state {
            JobState::Completed | JobState::PartiallyCompleted => Self::Met,
            _ if state.is_finished() => Self::Failed,
            _ => Self::Open,
        }
    }
}

/// One round of jobs that wait for each other, `a -> b -> a`; `None` when there is no such.
///
/// `edges`: a job and those that it waits for. Jobs that are stored already cannot be part of a round, as they cannot
/// wait for one that is not.
pub fn find_cycle(edges: &BTreeMap<JobId, Vec<JobId>>) -> Option<Vec<JobId>> {
    let mut done: BTreeMap<JobId, bool> = BTreeMap::new();
    for &start in edges.keys() {
        // Depth first without recursion: a chain may have as many links as a submission has jobs.
        let mut path: Vec<(JobId, usize)> = vec![(start, 0)];
        while let Some((job, next)) = path.last_mut() {
            let job = *job;
            if *next == 0 && done.insert(job, false) == Some(true) {
                done.insert(job, true);
                path.pop();
                continue;
            }
            let Some(&prerequisite) = edges.get(&job).and_then(|of| of.get(*next)) else {
                done.insert(job, true);
                path.pop();
                continue;
            };
            *next += 1;
            if let Some(from) = path
                .iter()
                .position(|(on_path, _)| *on_path == prerequisite)
            {
                let mut cycle: Vec<JobId> = path[from..].iter().map(|(job, _)| *job).collect();
                cycle.push(prerequisite);
                return Some(cycle);
            }
            if edges.contains_key(&prerequisite) && done.get(&prerequisite) != Some(&true) {
                path.push((prerequisite, 0));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn job(n: u128) -> JobId {
        JobId::from_uuid(Uuid::from_u128(n))
    }

    fn edges(of: &[(u128, &[u128])]) -> BTreeMap<JobId, Vec<JobId>> {
        of.iter()
            .map(|(from, to)| (job(*from), to.iter().map(|to| job(*to)).collect()))
            .collect()
    }

    #[test]
    fn a_round_is_found_and_named() {
        let round = edges(&[(1, &[2]), (2, &[3]), (3, &[4, 2]), (4, &[])]);
        assert_eq!(find_cycle(&round), Some(vec![job(2), job(3), job(2)]));
        assert_eq!(find_cycle(&edges(&[(7, &[7])])), Some(vec![job(7), job(7)]));
    }

    #[test]
    fn diamonds_and_stored_prerequisites_are_no_rounds() {
        let diamond = edges(&[(1, &[2, 3]), (2, &[4]), (3, &[4]), (4, &[99])]);
        assert_eq!(find_cycle(&diamond), None);
        let chain: BTreeMap<_, _> = (0..10_000).map(|n| (job(n), vec![job(n + 1)])).collect();
        assert_eq!(find_cycle(&chain), None);
    }

    #[test]
    fn only_success_meets() {
        assert_eq!(Prerequisite::of(JobState::Completed), Prerequisite::Met);
        assert_eq!(Prerequisite::of(JobState::Running), Prerequisite::Open);
        for failed in [
            JobState::Failed,
            JobState::Timeout,
            JobState::Stopped,
            JobState::Cancelled,
        ] {
            assert_eq!(Prerequisite::of(failed), Prerequisite::Failed);
        }
    }
}
