//! The command that decides whether what an agent made is good.

use serde::{Deserialize, Serialize};

use crate::Violations;

const RUN_MAX: usize = 64 * 1024;
/// Whoever needs more rounds has a task for another session.
const ROUNDS_MAX: u64 = 5;
/// A day. The session's own limit holds as well.
const TIMEOUT_MAX: u64 = 24 * 3600;

/// Runs in the worktree after the agent said that it is done; exit code 0 is success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// A line for `/bin/sh -c`.
    pub run: String,
    /// How often its failure is told to the agent, which then goes on.
    #[serde(default)]
    pub rounds: u32,
    /// A command that takes longer has failed.
    #[serde(default = "Verify::default_timeout")]
    pub timeout_seconds: u32,
}

/// What the command said about the work as it was left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Absent when it was killed, or took too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How often the agent was told of a failure.
    pub rounds: u32,
    pub passed: bool,
}

impl Verified {
    /// From 0 to 1: 1 at the first try, a half after one round, a third after two, and so on; 0 when it never passed.
    pub fn quality(self) -> f64 {
        if self.passed {
            1.0 / (1.0 + f64::from(self.rounds))
        } else {
            0.0
        }
    }
}

impl Verify {
    /// Seconds.
    pub const fn default_timeout() -> u32 {
        600
    }

    pub(crate) fn check(&self, violations: &mut Violations) {
        violations.text("/verify/run", &self.run, 1, RUN_MAX);
        violations.range("/verify/rounds", self.rounds.into(), 0, ROUNDS_MAX);
        violations.range(
            "/verify/timeout_seconds",
            self.timeout_seconds.into(),
            1,
            TIMEOUT_MAX,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_a_limit_is_named() {
        let verify = |run: &str, rounds, timeout_seconds| {
            let mut violations = Violations::default();
            let run = run.to_owned();
            let verify = Verify {
                run,
                rounds,
                timeout_seconds,
            };
            verify.check(&mut violations);
            let pointers = violations.0.into_iter().map(|it| it.pointer);
            pointers.collect::<Vec<String>>()
        };
        assert!(verify("cargo test", 5, 86_400).is_empty());
        assert_eq!(
            verify(" ", 6, 0),
            ["/verify/run", "/verify/rounds", "/verify/timeout_seconds"]
        );
    }
}
