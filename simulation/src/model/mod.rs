//! What the store says, row by row, held against what it may say.
//!
//! Built from the account of changed rows only, never from what the engine answers: the checks know the tables, not the
//! code. What must hold at every instant is checked here; what must happen in time is in `crate::watch`.

mod edges;
mod history;
mod job;
mod rows;
mod runs;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use domain::{JobState, Timestamp};
use uuid::Uuid;

pub use job::{AttemptRow, JobRow};
pub use runs::{Ended, Runs};
pub use slots::{Counts, Queue, SlotsRow};

use rows::Labels;

use crate::database::Change;
use crate::plan::{GRACE, SKEW};
use crate::process::{Life, Process};

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub rule: &'static str,
    pub how: String,
}

impl Broken {
    pub const fn new(rule: &'static str, how: String) -> Self {
        Self { rule, how }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.how)
    }
}

/// The store's call that made the changes.
pub struct Call<'a> {
    pub process: &'a Arc<Process>,
    pub name: &'static str,
}

pub struct WorkerRow {
    pub process: Arc<Process>,
    pub epoch: i64,
    pub lease_until: i64,
    pub draining: bool,
    pub gone: bool,
    pub capacity: i64,
    pub kinds: BTreeSet<String>,
    pub labels: Labels,
    pub since: Timestamp,
}

#[derive(Default)]
pub struct Model {
    pub jobs: BTreeMap<Uuid, JobRow>,
    pub slots: BTreeMap<Queue, SlotsRow>,
    pub inactive: BTreeSet<Uuid>,
    /// Tenants whose month is used up.
    pub used_up: BTreeSet<Uuid>,
    pub workers: BTreeMap<Uuid, WorkerRow>,
    pub runs: Runs,
    /// Jobs whose submission was answered with a yes.
    pub promised: BTreeSet<Uuid>,
    /// Failed runs that were queued again without any wait.
    hasty_retries: u32,
    names: BTreeMap<Uuid, usize>,
    /// Touched by the changes of this call, and begun by them.
    touched: BTreeSet<Uuid>,
    claimed: Vec<Uuid>,
    /// Whether the prerequisite ended well, once it has ended.
    edges: BTreeMap<edges::Edge, Option<bool>>,
    /// Since when a job waits for one of the engine's chores.
    pub chores: BTreeMap<(Uuid, &'static str), Timestamp>,
}

impl Model {
    /// Takes one change in, or says which rule it breaks.
    pub fn take(&mut self, call: &Call<'_>, change: &Change, now: Timestamp) -> Result<(), Broken> {
        let says = rows::Says(&change.says);
        match change.what.as_str() {
            "job" => self.take_job(call, change.id, &says, now),
            "event" => self.take_event(change.id, says.number(0), says.text(1)),
            "attempt" => self.take_attempt(call, change.id, &rows::attempt(&says)),
            "said" => self.take_said(call, change.id, &says),
            "edge" => {
                self.take_edge(change.id, &says);
                Ok(())
            }
            "told" => {
                self.take_told(change.id, &says);
                Ok(())
            }
            "slots" => self.take_slots(change.id, &says),
            "tenant" => {
                if says.number(0) == 0 {
                    self.inactive.insert(change.id);
                } else {
                    self.inactive.remove(&change.id);
                }
                if says.number(2) == 0 {
                    self.used_up.remove(&change.id);
                } else {
                    self.used_up.insert(change.id);
                }
                Ok(())
            }
            "worker" => self.take_worker(call, change.id, &says, now),
            "left" => {
                if let Some(worker) = self.workers.get_mut(&change.id) {
                    worker.gone = true;
                }
                Ok(())
            }
            _ => Err(Broken::new(
                "nothing that happened is ever taken out of the store",
                self.describe(change),
            )),
        }
    }

    /// After all changes of one call: what must hold between transactions.
    pub fn settled(&mut self, call: &Call<'_>, now: Timestamp) -> Result<(), Broken> {
        self.settled_edges()?;
        let touched = std::mem::take(&mut self.touched);
        for id in &touched {
            self.settled_job(*id)?;
        }
        self.settled_slots(call, now)
    }

    fn take_worker(
        &mut self,
        call: &Call<'_>,
        id: Uuid,
        says: &rows::Says<'_>,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let (epoch, lease_until) = (says.number(0), says.number(1));
        let draining = says.number(2) != 0;
        let Some(row) = self.workers.get_mut(&id) else {
            let kinds = says.list(4).iter().filter_map(serde_json::Value::as_str);
            let row = WorkerRow {
                process: Arc::clone(call.process),
                epoch,
                lease_until,
                draining,
                gone: false,
                capacity: says.number(3),
                kinds: kinds.map(str::to_owned).collect(),
                labels: says.labels(5),
                since: now,
            };
            self.workers.insert(id, row);
            return Ok(());
        };
        // What the reaper may believe at most: its clock is early by the skew.
        let earliest = row.lease_until + micros(GRACE) - micros(SKEW);
        let given_up = epoch > row.epoch;
        let name = row.process.name.clone();
        row.epoch = epoch;
        row.lease_until = lease_until;
        row.draining = draining;
        if given_up && now.timestamp_micros() < earliest {
            let how = format!(
                "{} took {name} for dead within its lease and grace",
                call.process.name
            );
            return Err(Broken::new("nobody is reaped who may be alive", how));
        }
        Ok(())
    }

    /// A short name for a job, worker or tenant, in the order in which they came up.
    pub fn name(&mut self, id: Uuid) -> String {
        let next = self.names.len() + 1;
        let number = *self.names.entry(id).or_insert(next);
        format!("#{number}")
    }

    pub fn describe(&mut self, change: &Change) -> String {
        let name = self.name(change.id);
        let says: Vec<String> = change
            .says
            .iter()
            .map(|value| match value.as_str().map(Uuid::parse_str) {
                Some(Ok(id)) => self.name(id),
                _ => value.to_string(),
            })
            .collect();
        format!("{} {name} {}", change.what, says.join(" "))
    }

    /// Jobs that have not come to their end.
    pub fn unfinished(&self) -> usize {
        let jobs = self.jobs.values();
        jobs.filter(|job| !job.state.is_finished()).count()
    }

    /// The worker that holds this job, if it is a process that is up.
    pub fn live_holder(&self, job: &JobRow) -> Option<&WorkerRow> {
        let worker = self.workers.get(&job.worker?)?;
        (worker.process.life() == Life::Up && !worker.gone).then_some(worker)
    }

    pub fn running_of(&self, worker: Uuid) -> usize {
        let jobs = self.jobs.values();
        jobs.filter(|job| job.state == JobState::Running && job.worker == Some(worker))
            .count()
    }
}

pub fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn rule(holds: bool, rule: &'static str, how: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds {
        Ok(())
    } else {
        Err(Broken::new(rule, how()))
    }
}
