//! The rules of one job: how it moves, and who may move it.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Action, JobState, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::rows::{Says, Wishes, job, wishes};
use super::{Broken, Call, Model, WorkerRow, micros, rule};
use crate::plan::SKEW;

/// Of the priorities' turns: how much later the next lower one comes.
const TURN_OF_RANK: i64 = 6 * 3_600 * 1_000_000;

#[derive(Debug, Clone)]
pub struct JobRow {
    pub tenant: Uuid,
    pub kind: String,
    pub state: JobState,
    pub attempt: i64,
    pub failures: i64,
    pub max_attempts: i64,
    pub fence: i64,
    pub worker: Option<Uuid>,
    pub event_seq: i64,
    pub run_after: Option<i64>,
    pub stop_requested: Option<i64>,
    pub pause_requested: Option<i64>,
    /// Of a queued job: its time has come.
    pub due: bool,
    pub turn: i64,
    pub queued_at: i64,
    pub is_dead_letter: bool,
    pub deadline: Option<i64>,
    pub wishes: Arc<Wishes>,
    /// When it last changed its state, and when it was first asked to stop.
    pub since: Timestamp,
    pub stop_since: Option<Timestamp>,
    /// How often it ended without success.
    pub bad_ends: u32,
    pub events: i64,
    /// Its latest event was a final one.
    pub ended: bool,
    pub attempts: BTreeMap<i64, AttemptRow>,
    pub checkpoint: Option<Value>,
    /// Of the run that this call ended: what it added to the failures, and how it is said to have ended.
    pub counted: Option<i64>,
    pub outcome: Option<String>,
}

impl Default for JobRow {
    fn default() -> Self {
        Self {
            tenant: Uuid::nil(),
            kind: String::new(),
            state: JobState::Orphaned,
            attempt: 0,
            failures: 0,
            max_attempts: 0,
            fence: 0,
            worker: None,
            event_seq: 0,
            run_after: None,
            stop_requested: None,
            pause_requested: None,
            due: false,
            turn: 0,
            queued_at: 0,
            is_dead_letter: false,
            deadline: None,
            wishes: Arc::default(),
            since: Timestamp::default(),
            stop_since: None,
            bad_ends: 0,
            events: 0,
            ended: false,
            attempts: BTreeMap::new(),
            checkpoint: None,
            counted: None,
            outcome: None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct AttemptRow {
    pub number: i64,
    pub open: bool,
    pub outcome: String,
}

impl JobRow {
    pub fn is_due(&self) -> bool {
        self.state == JobState::Queued && self.due
    }

    /// Every worker may run it.
    pub fn is_plain(&self) -> bool {
        self.wishes.requires.is_empty()
    }

    /// The worker takes its kind and has what it asks for.
    pub fn may_run_on(&self, worker: &WorkerRow) -> bool {
        let wanted = &self.wishes.requires;
        let mut labels = wanted.iter();
        worker.kinds.contains(&self.kind)
            && labels.all(|(key, value)| worker.labels.get(key) == Some(value))
    }

    pub fn ended_well(&self) -> bool {
        [JobState::Completed, JobState::PartiallyCompleted].contains(&self.state)
    }

    /// By the clock of some process its deadline has come: it fails in a moment, and that one does not start it.
    pub fn is_too_late(&self, now: Timestamp) -> bool {
        let latest = now.timestamp_micros() + micros(SKEW);
        self.deadline.is_some_and(|at| at <= latest)
    }

    /// Its turn is that of a job that was queued when it was.
    fn has_fresh_turn(&self) -> bool {
        self.turn == self.queued_at + self.wishes.rank * TURN_OF_RANK
    }

    /// What is known of a job beside its row.
    fn inherit(&mut self, old: &Self, now: Timestamp) {
        self.since = if self.state == old.state {
            old.since
        } else {
            now
        };
        self.stop_since = self.stop_requested.map(|_| old.stop_since.unwrap_or(now));
        self.bad_ends += old.bad_ends;
        self.wishes = Arc::clone(&old.wishes);
        self.events = old.events;
        self.ended = old.ended;
        self.attempts.clone_from(&old.attempts);
        self.checkpoint.clone_from(&old.checkpoint);
        let ends = old.state.holds_slot() && !self.state.holds_slot();
        self.counted = ends.then_some(self.failures - old.failures);
    }
}

impl Model {
    pub(super) fn take_job(
        &mut self,
        call: &Call<'_>,
        id: Uuid,
        says: &Says<'_>,
        now: Timestamp,
    ) -> Result<(), Broken> {
        self.touched.insert(id);
        let name = self.name(id);
        let mut new = job(says);
        new.bad_ends = u32::from(new.state.is_finished() && !new.ended_well());
        let Some(old) = self.jobs.remove(&id) else {
            new.since = now;
            new.wishes = wishes(says);
            let checked = self.begun(&name, &new);
            self.jobs.insert(id, new);
            return checked;
        };
        new.inherit(&old, now);
        if new.state == JobState::Running && old.state != JobState::Running {
            self.claimed.push(id);
        }
        let checked = self.moved(call, &name, &old, &new, now);
        self.jobs.insert(id, new);
        checked
    }

    fn begun(&self, name: &str, new: &JobRow) -> Result<(), Broken> {
        let who = || format!("{name}: {}", new.state);
        let queued = new.state == JobState::Queued;
        let fresh = (new.state == JobState::Pending || queued) && new.fence == 0;
        rule(fresh, "a job begins pending or queued", who)?;
        rule(
            !queued || new.wishes.depends_on.is_empty(),
            "a job waits for its prerequisites",
            who,
        )?;
        rule(
            !queued || new.has_fresh_turn(),
            "a turn is fixed when a job is queued",
            who,
        )?;
        self.may_enter(new, who)
    }

    fn may_enter(&self, new: &JobRow, who: impl FnOnce() -> String) -> Result<(), Broken> {
        let slots = self.slots.get(&(new.tenant, new.kind.clone()));
        let draining = slots.is_some_and(|row| row.draining);
        rule(!draining, "a draining queue takes no new jobs", who)
    }

    fn moved(
        &self,
        call: &Call<'_>,
        name: &str,
        old: &JobRow,
        new: &JobRow,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let who = format!("{name} by {} of {}", call.name, call.process.name);
        let in_table = old.state == new.state
            || Action::ALL
                .iter()
                .any(|action| old.state.after(*action) == Ok(new.state));
        rule(in_table, "a job moves as the table says", || {
            format!("{who}: {} to {}", old.state, new.state)
        })?;
        rule(new.fence >= old.fence, "fences rise", || {
            format!("{who}: {} to {}", old.fence, new.fence)
        })?;
        let claimed = new.state == JobState::Running && old.state != JobState::Running;
        if claimed {
            return self.claimed(&who, old, new, now);
        }
        rule(
            new.attempt == old.attempt,
            "only a claim begins a run",
            || who.clone(),
        )?;
        if old.state.holds_slot() {
            self.running_moved(call, &who, old, new)
        } else {
            self.waiting_moved(call, &who, old, new, now)
        }
    }

    fn running_moved(
        &self,
        call: &Call<'_>,
        who: &str,
        old: &JobRow,
        new: &JobRow,
    ) -> Result<(), Broken> {
        let ours = self.is_of(call, old.worker);
        let allowed = match call.name {
            "report" | "finish" => ours,
            "steer" => new.state == old.state,
            // Without faults no worker dies, and one that leaves leaves no run behind.
            "reap" => new.fence > old.fence && !call.process.world.plan.is_calm(),
            _ => false,
        };
        rule(
            allowed,
            "a running job is changed by its holder or by the reaper",
            || format!("{who}, {} to {}", old.state, new.state),
        )?;
        rule(
            new.state != JobState::Queued || new.turn == old.turn,
            "a job that is queued again after a run keeps its turn",
            || who.to_owned(),
        )?;
        let paused = old.pause_requested.is_some() && new.state == JobState::Queued;
        rule(!paused, "a pause that was asked for is not lost", || {
            who.to_owned()
        })?;
        let stopped = old.stop_requested.is_some() && new.state == JobState::Queued;
        rule(!stopped, "a stop that was asked for is not lost", || {
            who.to_owned()
        })
    }

    /// Neither before nor after it is run.
    fn waiting_moved(
        &self,
        call: &Call<'_>,
        who: &str,
        old: &JobRow,
        new: &JobRow,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let who = || format!("{who}, {} to {}", old.state, new.state);
        let latest = now.timestamp_micros() + micros(SKEW);
        if new.state == old.state {
            let promoted = new.due && !old.due;
            let early = new.run_after.is_some_and(|at| at > latest);
            return rule(!promoted || !early, "no job is due before its time", who);
        }
        let queued = new.state == JobState::Queued;
        let allowed = match call.name {
            "steer" => true,
            "step_replay" => queued && old.is_dead_letter,
            "release" => return self.released(old, new, who),
            "expire" => new.is_too_late(now) && new.state == JobState::Failed,
            _ => false,
        };
        rule(
            allowed,
            "a waiting job is moved by people, prerequisites or its deadline",
            who,
        )?;
        if !queued {
            return Ok(());
        }
        rule(
            new.has_fresh_turn(),
            "a turn is fixed when a job is queued",
            who,
        )?;
        self.may_enter(new, who)
    }

    /// By the ends of its prerequisites.
    fn released(&self, old: &JobRow, new: &JobRow, who: impl Fn() -> String) -> Result<(), Broken> {
        let wishes = &new.wishes;
        let waited = old.state == JobState::Pending && !wishes.depends_on.is_empty();
        rule(waited, "only who waits for others is released", &who)?;
        let mut prerequisites = wishes.depends_on.iter().filter_map(|id| self.jobs.get(id));
        match new.state {
            JobState::Queued => {
                rule(
                    prerequisites.all(JobRow::ended_well),
                    "a job waits for its prerequisites",
                    &who,
                )?;
                rule(
                    new.has_fresh_turn(),
                    "a turn is fixed when a job is queued",
                    &who,
                )
            }
            end => {
                rule(
                    prerequisites.any(|job| job.bad_ends > 0),
                    "a job ends with its prerequisites only when one ended badly",
                    &who,
                )?;
                let by_rule = if wishes.skips {
                    JobState::Cancelled
                } else {
                    JobState::Failed
                };
                rule(end == by_rule, "a job ends by its own rule", who)
            }
        }
    }

    fn claimed(&self, who: &str, old: &JobRow, new: &JobRow, now: Timestamp) -> Result<(), Broken> {
        let who = || who.to_owned();
        rule(new.fence > old.fence, "a claim raises the fence", who)?;
        rule(
            new.attempt == old.attempt + 1,
            "a claim begins one run",
            who,
        )?;
        let worker = new.worker.and_then(|worker| self.workers.get(&worker));
        rule(worker.is_some(), "a running job has a holder", who)?;
        rule(
            worker.is_some_and(|worker| new.may_run_on(worker)),
            "a worker runs what it is made for",
            who,
        )?;
        let latest = now.timestamp_micros() + micros(SKEW);
        rule(
            old.due && old.run_after.is_none_or(|at| at <= latest),
            "no job runs before it is due",
            who,
        )?;
        let slots = self.slots.get(&(old.tenant, old.kind.clone()));
        rule(
            slots.is_some_and(|row| !row.paused),
            "a paused queue starts nothing",
            who,
        )?;
        rule(
            !self.inactive.contains(&old.tenant),
            "an inactive tenant's jobs do not start",
            who,
        )?;
        rule(
            old.kind != "session" || !self.used_up.contains(&old.tenant),
            "a session does not start in a month that is used up",
            who,
        )
    }

    /// True when the worker is a life of the process that calls.
    pub(super) fn is_of(&self, call: &Call<'_>, worker: Option<Uuid>) -> bool {
        let worker = worker.and_then(|worker| self.workers.get(&worker));
        worker.is_some_and(|worker| Arc::ptr_eq(&worker.process, call.process))
    }
}
