//! The rules of a queue: what its slots count, that its quota holds, and that its jobs start by their turns.

use domain::{JobState, Timestamp};
use uuid::Uuid;

use super::rows::Says;
use super::{Broken, Call, JobRow, Model};

/// A tenant and a kind.
pub type Queue = (Uuid, String);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotsRow {
    pub quota: i64,
    pub counts: Counts,
    /// Wake-ups counted as published. No fact, so it is no count of jobs.
    pub published: i64,
    pub paused: bool,
    pub draining: bool,
    pub version: i64,
    /// What ran and was published after the call before.
    ran: i64,
    told: i64,
    /// Since when something could start and does not: plain jobs, and those that ask for labels.
    pub starving: Option<Timestamp>,
    pub starving_labelled: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub running: i64,
    pub pending: i64,
    pub queued: i64,
    pub due: i64,
}

impl Counts {
    fn add(&mut self, job: &JobRow) {
        match job.state {
            JobState::Running | JobState::Degraded => self.running += 1,
            JobState::Pending => self.pending += 1,
            JobState::Queued => {
                self.queued += 1;
                self.due += i64::from(job.due && job.is_plain());
            }
            _ => {}
        }
    }
}

/// The most wake-ups that the broker may hold of a queue.
const fn window(quota: i64) -> i64 {
    2 * quota + 64
}

impl Model {
    pub(super) fn take_slots(&mut self, tenant: Uuid, says: &Says<'_>) -> Result<(), Broken> {
        let queue = (tenant, says.text(0).to_owned());
        let row = self.slots.entry(queue).or_default();
        let before = row.version;
        row.quota = says.number(1);
        row.counts = Counts {
            running: says.number(2),
            pending: says.number(3),
            queued: says.number(4),
            due: says.number(5),
        };
        row.published = says.number(6);
        row.paused = says.flag(7);
        row.draining = says.flag(8);
        row.version = says.number(9);
        if row.version > before {
            return Ok(());
        }
        let how = format!("{} after {before}", says.number(9));
        Err(Broken::new("a change of slots raises their version", how))
    }

    /// Between transactions: the counts are those of the jobs, nothing started beyond the quota, and wake-ups are
    /// counted for jobs that are due and used up by those that start.
    pub(super) fn settled_slots(&mut self, call: &Call<'_>, now: Timestamp) -> Result<(), Broken> {
        let claimed = self.settled_turns(now)?;
        let Self { jobs, slots, .. } = self;
        for ((tenant, kind), row) in slots.iter_mut() {
            let mut counted = Counts::default();
            jobs.values()
                .filter(|job| job.tenant == *tenant && job.kind == *kind)
                .for_each(|job| counted.add(job));
            let which = format!("{kind} of {tenant} after {}", call.name);
            if counted != row.counts {
                let how = format!("{which}: {:?}, but {counted:?}", row.counts);
                return Err(Broken::new("slots count what the jobs are", how));
            }
            let (ran, runs) = (row.ran, counted.running);
            row.ran = runs;
            if runs > ran && runs > row.quota {
                let how = format!("{which}: {runs} run, the quota is {}", row.quota);
                return Err(Broken::new("no more run than the quota allows", how));
            }
            let (told, tell) = (row.told, row.published);
            row.told = tell;
            if tell > told && tell > counted.due.min(window(row.quota)) {
                let how = format!("{which}: {tell} wake-ups, {} are due", counted.due);
                return Err(Broken::new("no more wake-ups than due jobs", how));
            }
            let started = claimed
                .iter()
                .filter(|job| job.tenant == *tenant && job.kind == *kind && job.is_plain());
            let started = i64::try_from(started.count()).unwrap_or(i64::MAX);
            if started > 0 && tell > (told - started).max(0) {
                let how = format!("{which}: {started} started, {told} wake-ups became {tell}");
                return Err(Broken::new("a claim uses its wake-ups up", how));
            }
        }
        Ok(())
    }

    /// Nobody who was due stands behind who was claimed: of the plain jobs of a queue, and of those that ask for labels
    /// which the worker has. Those whose deadline has come are passed over. Returns what was claimed.
    fn settled_turns(&mut self, now: Timestamp) -> Result<Vec<JobRow>, Broken> {
        let claimed: Vec<(Uuid, JobRow)> = std::mem::take(&mut self.claimed)
            .into_iter()
            .filter_map(|id| Some((id, self.jobs.get(&id)?.clone())))
            .collect();
        for (id, job) in &claimed {
            let labels = job.worker.and_then(|worker| self.workers.get(&worker));
            let passed = self.jobs.iter().find(|(other, waiting)| {
                waiting.state == JobState::Queued
                    && waiting.due
                    && !waiting.is_too_late(now)
                    && (waiting.tenant, &waiting.kind) == (job.tenant, &job.kind)
                    && waiting.is_plain() == job.is_plain()
                    && labels.is_some_and(|worker| waiting.may_run_on(worker))
                    && (waiting.turn, **other) < (job.turn, *id)
            });
            if let Some(other) = passed.map(|(other, _)| *other) {
                let how = format!("{} before {}", self.name(*id), self.name(other));
                return Err(Broken::new("jobs of a queue start by their turns", how));
            }
        }
        Ok(claimed.into_iter().map(|(_, job)| job).collect())
    }
}
