//! What really runs, as the runs themselves say. Nothing of it comes from the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::process::Process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Not,
    Completed,
    Failed,
    Transient,
    /// It gave way to another.
    Yielded,
    Interrupted,
    /// Ended from outside, without a word of its own.
    Dropped,
}

pub struct Run {
    pub process: Arc<Process>,
    pub ended: Ended,
    /// It has heard that it must end.
    pub told: bool,
}

#[derive(Default)]
pub struct Runs(BTreeMap<(Uuid, i64), Run>);

impl Runs {
    /// False when another run of the job is still live.
    pub fn begin(&mut self, job: Uuid, attempt: i64, process: &Arc<Process>) -> bool {
        let others = self.0.range((job, i64::MIN)..=(job, i64::MAX));
        let alone = !others.into_iter().any(|(_, run)| run.is_live());
        let run = Run {
            process: Arc::clone(process),
            ended: Ended::Not,
            told: false,
        };
        self.0.insert((job, attempt), run);
        alone
    }

    /// The first word counts.
    pub fn end(&mut self, job: Uuid, attempt: i64, ended: Ended) {
        if let Some(run) = self.0.get_mut(&(job, attempt))
            && run.ended == Ended::Not
        {
            run.ended = ended;
        }
    }

    pub fn tell(&mut self, job: Uuid, attempt: i64) {
        if let Some(run) = self.0.get_mut(&(job, attempt)) {
            run.told = true;
        }
    }

    /// True for a live run that has not heard that it must end.
    pub fn is_unaware(&self, job: Uuid, attempt: i64) -> bool {
        self.is_live(job, attempt) && self.0.get(&(job, attempt)).is_some_and(|run| !run.told)
    }

    pub fn of(&self, job: Uuid, attempt: i64) -> Option<Ended> {
        self.0.get(&(job, attempt)).map(|run| run.ended)
    }

    /// Live runs, but none of a process that thawed just now.
    pub fn live(&self) -> impl Iterator<Item = (Uuid, i64, &Arc<Process>)> {
        let runs = self
            .0
            .iter()
            .filter(|(_, run)| run.is_live() && !run.process.thawed_just_now());
        runs.map(|((job, attempt), run)| (*job, *attempt, &run.process))
    }

    pub fn is_live(&self, job: Uuid, attempt: i64) -> bool {
        self.0.get(&(job, attempt)).is_some_and(Run::is_live)
    }
}

impl Run {
    /// In a process that is neither dead nor frozen.
    fn is_live(&self) -> bool {
        self.ended == Ended::Not && self.process.is_up()
    }
}
