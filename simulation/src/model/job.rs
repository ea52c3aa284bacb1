//! The rules of one job: how it moves, who may move it, and what its history says.

use std::collections::BTreeMap;

use domain::{Action, EventKind, JobState, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::rows::Says;
use super::runs::Ended;
use super::{Broken, Call, Model, micros};
use crate::plan::SKEW;

/// A retry without any wait is the luck of a jitter below a millisecond; so many in one world are not.
const HASTY_RETRIES: u32 = 3;

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
    pub published: bool,
    pub run_after: Option<i64>,
    pub stop_requested: Option<i64>,
    /// When it last changed its state, and when it was first asked to stop.
    pub since: Timestamp,
    pub stop_since: Option<Timestamp>,
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
            published: false,
            run_after: None,
            stop_requested: None,
            since: Timestamp::default(),
            stop_since: None,
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
    pub fn is_due(&self, now: i64) -> bool {
        self.state == JobState::Queued && self.run_after.is_none_or(|at| at <= now)
    }
}

impl Model {
    pub(super) fn take_job(
        &mut self,
        call: &Call<'_>,
        id: Uuid,
        mut new: JobRow,
        now: Timestamp,
    ) -> Result<(), Broken> {
        self.touched.insert(id);
        let name = self.name(id);
        let Some(old) = self.jobs.remove(&id) else {
            new.since = now;
            let fresh = matches!(new.state, JobState::Pending | JobState::Queued) && new.fence == 0;
            self.jobs.insert(id, new);
            return rule(fresh, "a job begins pending or queued", || name);
        };
        new.since = if new.state == old.state {
            old.since
        } else {
            now
        };
        new.stop_since = new.stop_requested.map(|_| old.stop_since.unwrap_or(now));
        new.events = old.events;
        new.ended = old.ended;
        new.attempts.clone_from(&old.attempts);
        new.checkpoint.clone_from(&old.checkpoint);
        let ends = old.state.holds_slot() && !new.state.holds_slot();
        new.counted = ends.then_some(new.failures - old.failures);
        let checked = self.moved(call, &name, &old, &new, now);
        self.jobs.insert(id, new);
        checked
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
        if !old.state.holds_slot() {
            return Ok(());
        }
        let ours = self.is_of(call, old.worker);
        let allowed = match call.name {
            "report" | "finish" => ours,
            "steer" => new.state == old.state,
            "reap" => new.fence > old.fence,
            _ => false,
        };
        rule(
            allowed,
            "a running job is changed by its holder or by the reaper",
            || format!("{who}, {} to {}", old.state, new.state),
        )?;
        let stopped = old.stop_requested.is_some() && new.state == JobState::Queued;
        rule(!stopped, "a stop that was asked for is not lost", || {
            who.clone()
        })
    }

    fn claimed(&self, who: &str, old: &JobRow, new: &JobRow, now: Timestamp) -> Result<(), Broken> {
        rule(new.fence > old.fence, "a claim raises the fence", || {
            who.to_owned()
        })?;
        rule(
            new.attempt == old.attempt + 1,
            "a claim begins one run",
            || who.to_owned(),
        )?;
        rule(new.worker.is_some(), "a running job has a holder", || {
            who.to_owned()
        })?;
        let latest = now.timestamp_micros() + micros(SKEW);
        rule(
            old.run_after.is_none_or(|at| at <= latest),
            "no job runs before it is due",
            || who.to_owned(),
        )?;
        rule(
            !self.inactive.contains(&old.tenant),
            "an inactive tenant's jobs do not start",
            || who.to_owned(),
        )
    }

    /// True when the worker is a life of the process that calls.
    fn is_of(&self, call: &Call<'_>, worker: Option<Uuid>) -> bool {
        let worker = worker.and_then(|worker| self.workers.get(&worker));
        worker.is_some_and(|worker| std::sync::Arc::ptr_eq(&worker.process, call.process))
    }

    pub(super) fn take_event(&mut self, id: Uuid, seq: i64, kind: &str) -> Result<(), Broken> {
        self.touched.insert(id);
        let name = self.name(id);
        let job = self.jobs.entry(id).or_default();
        let (events, ended) = (job.events, job.ended);
        let kind: Option<EventKind> = kind.parse().ok();
        job.events = seq;
        job.ended = kind.is_some_and(EventKind::is_final);
        rule(
            seq == events + 1,
            "events are numbered without gaps",
            || format!("{name}: {seq} after {events}"),
        )?;
        rule(
            !ended || kind == Some(EventKind::Queued),
            "a job ends once until a person retries it",
            || format!("{name}: {kind:?} after its end"),
        )
    }

    pub(super) fn take_attempt(
        &mut self,
        call: &Call<'_>,
        id: Uuid,
        new: &AttemptRow,
    ) -> Result<(), Broken> {
        self.touched.insert(id);
        let name = self.name(id);
        let job = self.jobs.entry(id).or_default();
        let number = new.number;
        let who = || format!("{name}, run {number}, by {}", call.process.name);
        let old = job.attempts.insert(number, new.clone());
        let open = job.attempts.values().filter(|attempt| attempt.open).count();
        rule(open <= 1, "runs of a job do not overlap", who)?;
        let Some(old) = old else { return Ok(()) };
        rule(old.open, "a run ends once", who)?;
        job.outcome = Some(new.outcome.clone());
        self.closed(call, id, new, &who())
    }

    /// The end of a run is what the run itself came to.
    fn closed(
        &mut self,
        call: &Call<'_>,
        id: Uuid,
        new: &AttemptRow,
        who: &str,
    ) -> Result<(), Broken> {
        let truth = self.runs.of(id, new.number);
        let said = || format!("{who}: written as {}, but it was {truth:?}", new.outcome);
        if call.name == "reap" {
            return rule(
                !self.runs.is_live(id, new.number),
                "a run is given up only after its worker has ended it",
                said,
            );
        }
        rule(
            truth != Some(Ended::Not),
            "a run's end is written when it has ended",
            said,
        )?;
        let honest = match new.outcome.as_str() {
            "completed" => truth == Some(Ended::Completed),
            "failed" | "handed_back" => truth != Some(Ended::Completed),
            _ => true,
        };
        rule(honest, "a run's end is what it came to", said)
    }

    pub(super) fn take_said(
        &mut self,
        call: &Call<'_>,
        id: Uuid,
        says: &Says<'_>,
    ) -> Result<(), Broken> {
        let name = self.name(id);
        let ours = self.is_of(call, self.jobs.get(&id).and_then(|job| job.worker));
        let job = self.jobs.entry(id).or_default();
        if says.text(1) == "checkpoint" {
            job.checkpoint = serde_json::from_str(says.text(3)).ok();
        }
        let current = job.state.holds_slot() && job.attempt == says.number(0) && ours;
        rule(current, "only the present run of a job writes", || {
            let run = says.number(0);
            format!(
                "{name}: run {run} of {} wrote a {}",
                call.process.name,
                says.text(1)
            )
        })
    }

    /// Between transactions.
    pub(super) fn settled_job(&mut self, id: Uuid) -> Result<(), Broken> {
        let name = self.name(id);
        let Some(job) = self.jobs.get(&id) else {
            return Ok(());
        };
        rule(
            job.events == job.event_seq,
            "a job knows its latest event",
            || format!("{name}: {} and {}", job.event_seq, job.events),
        )?;
        rule(
            job.ended == job.state.is_finished(),
            "a job's end is an event, and an event its end",
            || format!("{name}: {}", job.state),
        )?;
        let open = job.attempts.values().any(|attempt| attempt.open);
        rule(
            open == job.state.holds_slot(),
            "a running job has an open run",
            || name.clone(),
        )?;
        rule(
            job.failures <= job.max_attempts,
            "no job fails more often than it may",
            || name.clone(),
        )?;
        self.settled_end(id, &name)
    }

    /// A run that ended counts as a failure if it was one.
    fn settled_end(&mut self, id: Uuid, name: &str) -> Result<(), Broken> {
        let Some(job) = self.jobs.get_mut(&id) else {
            return Ok(());
        };
        let (Some(counted), Some(outcome)) = (job.counted.take(), job.outcome.take()) else {
            return Ok(());
        };
        let counts = ["failed", "timeout", "lease_lost"].contains(&outcome.as_str());
        rule(
            counted == i64::from(counts),
            "only failed runs count as failures",
            || format!("{name}: {outcome} counted {counted}"),
        )?;
        let hasty = outcome == "failed" && job.state == JobState::Queued && job.run_after.is_none();
        self.hasty_retries += u32::from(hasty);
        rule(
            self.hasty_retries < HASTY_RETRIES,
            "a failed run waits before it is tried again",
            || name.to_owned(),
        )
    }
}

fn rule(holds: bool, rule: &'static str, how: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds {
        Ok(())
    } else {
        Err(Broken::new(rule, how()))
    }
}
