//! What a job's history says: its events, its runs, and what they wrote.

use domain::{EventKind, JobState};
use uuid::Uuid;

use super::job::AttemptRow;
use super::rows::Says;
use super::runs::Ended;
use super::{Broken, Call, Model, rule};

/// A retry without any wait is the luck of a jitter below a millisecond; so many in one world are not.
const HASTY_RETRIES: u32 = 3;

impl Model {
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
        // The last words come with the end, whose writer was checked already.
        let ends = call.name == "finish" && job.outcome.is_some();
        let current = job.attempt == says.number(0) && (ends || job.state.holds_slot() && ours);
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
        rule(
            job.is_dead_letter == [JobState::Failed, JobState::Timeout].contains(&job.state),
            "dead letters are the jobs that failed for good",
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
