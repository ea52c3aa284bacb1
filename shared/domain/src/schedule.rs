//! A schedule: jobs that are made again and again, at the ticks of a timetable in cron's notation.
//!
//! What becomes of ticks is decided here; when they are is worked out by the application, which has the calendars and
//! time zones for it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    JobId, JobTemplate, NewJob, ScheduleId, TenantId, Timestamp, Violations,
    template::{METADATA_SCHEDULE, METADATA_TICK},
};

const NAME_MAX: usize = 63;
/// Longer than any timetable that a person understands.
const CRON_MAX: usize = 200;
const TIMEZONE_MAX: usize = 64;
/// A month: by then, the next job of any schedule is more use than one that still waits.
const DEADLINE_AFTER_MAX: u64 = 31 * 24 * 3600;

#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub id: ScheduleId,
    pub tenant: TenantId,
    /// Unique within the tenant; never changes.
    pub name: String,
    /// Five fields (minute, hour, day of month, month, day of week) or `@daily` and the like.
    pub cron: String,
    /// Where its hours are told: a name of the IANA database, `Europe/Berlin`.
    pub timezone: String,
    /// What each of its jobs is made of.
    pub template: JobTemplate,
    pub missed: MissedTicks,
    pub overlap: Overlap,
    pub paused: bool,
    /// Its next tick; nothing while it is paused, or while its timetable is not understood.
    pub next_at: Option<Timestamp>,
    /// The latest tick that was dealt with, whatever came of it.
    pub last_tick_at: Option<Timestamp>,
    pub last_job: Option<JobId>,
    /// Why its latest tick made no job; nothing when it did.
    pub last_error: Option<ScheduleError>,
    /// Rises with every change by a person, not with its ticks; what `ETag` shows.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Why a tick made no job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleError {
    pub at: Timestamp,
    pub message: String,
}

/// What becomes of ticks that passed while nobody was there to see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedTicks {
    /// Nothing; it goes on with the next one.
    Skip,
    /// One job for the latest of them.
    #[default]
    Latest,
    /// A job each, for the latest [`MissedTicks::ALL_MAX`] of them.
    All,
}

/// What a tick does while the schedule's previous job has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It makes a job beside it.
    #[default]
    Allow,
    /// It makes none.
    Skip,
}

/// The text names nothing that is known; `expected` says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not known here; use {expected}")]
pub struct UnknownPolicy {
    pub text: String,
    pub expected: &'static str,
}

impl UnknownPolicy {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(64).collect(),
            expected,
        }
    }
}

impl MissedTicks {
    pub const ALL: [Self; 3] = [Self::Skip, Self::Latest, Self::All];

    /// After a long absence, the jobs of more ticks than these would only be in the way of what is due now.
    pub const ALL_MAX: usize = 100;

    /// A tick that is younger was not missed: workers look every few seconds, and a new one takes over within a minute.
    pub const ON_TIME: Duration = Duration::from_mins(1);

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Latest => "latest",
            Self::All => "all",
        }
    }
}

impl Overlap {
    pub const ALL: [Self; 2] = [Self::Allow, Self::Skip];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Skip => "skip",
        }
    }
}

impl fmt::Display for MissedTicks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MissedTicks {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| UnknownPolicy::new(text, "skip, latest or all"))
    }
}

impl FromStr for Overlap {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| UnknownPolicy::new(text, "allow or skip"))
    }
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSchedule {
    pub name: String,
    pub cron: String,
    pub timezone: String,
    pub template: JobTemplate,
    pub missed: MissedTicks,
    pub overlap: Overlap,
    pub paused: bool,
}

impl NewSchedule {
    /// The schedule as it will be stored, or everything that is wrong with it. `next_tick`: the first one after `now`.
    pub fn into_schedule(
        self,
        id: ScheduleId,
        tenant: TenantId,
        next_tick: Timestamp,
        now: Timestamp,
    ) -> Result<Schedule, Violations> {
        let mut violations = Violations::default();
        check_name(&self.name, &mut violations);
        let schedule = Schedule {
            id,
            tenant,
            name: self.name,
            cron: self.cron,
            timezone: self.timezone,
            template: self.template,
            missed: self.missed,
            overlap: self.overlap,
            paused: self.paused,
            next_at: (!self.paused).then_some(next_tick),
            last_tick_at: None,
            last_job: None,
            last_error: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        schedule.check(now, &mut violations);
        violations.or(schedule)
    }
}

/// What to change; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScheduleChange {
    pub cron: Option<String>,
    pub timezone: Option<String>,
    /// Its deadline stays.
    pub template: Option<JobTemplate>,
    pub deadline_after_seconds: Option<Option<u32>>,
    pub missed: Option<MissedTicks>,
    pub overlap: Option<Overlap>,
    pub paused: Option<bool>,
}

impl Schedule {
    /// The schedule after `change`. `next_tick`: the first tick after `now` of the timetable as it will be.
    ///
    /// A tick that is due already stays due, unless the timetable changes. Ticks of a pause are not missed ones: somebody
    /// wanted them to pass.
    pub fn change(
        mut self,
        change: ScheduleChange,
        next_tick: Timestamp,
        now: Timestamp,
    ) -> Result<Self, Violations> {
        let new_cron = change.cron.is_some_and(|cron| set(&mut self.cron, cron));
        let new_zone = change
            .timezone
            .is_some_and(|zone| set(&mut self.timezone, zone));
        let deadline_after_seconds = change
            .deadline_after_seconds
            .unwrap_or(self.template.deadline_after_seconds);
        self.template = JobTemplate {
            deadline_after_seconds,
            ..change.template.unwrap_or(self.template)
        };
        self.missed = change.missed.unwrap_or(self.missed);
        self.overlap = change.overlap.unwrap_or(self.overlap);
        self.paused = change.paused.unwrap_or(self.paused);
        self.next_at = match self.next_at {
            _ if self.paused => None,
            Some(due) if !new_cron && !new_zone => Some(due),
            _ => Some(next_tick),
        };
        self.version += 1;
        self.updated_at = now;
        let mut violations = Violations::default();
        self.check(now, &mut violations);
        violations.or(self)
    }

    /// Of the latest ticks that have come (rising, none after `now`), those that make a job.
    pub fn ticks_to_fire(&self, come: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
        let mut ticks = match (self.missed, come.last()) {
            (_, None) => Vec::new(),
            (MissedTicks::All, _) => {
                come[come.len().saturating_sub(MissedTicks::ALL_MAX)..].to_vec()
            }
            (MissedTicks::Latest, Some(&latest)) => vec![latest],
            (MissedTicks::Skip, Some(&latest)) if now - MissedTicks::ON_TIME < latest => {
                vec![latest]
            }
            (MissedTicks::Skip, _) => Vec::new(),
        };
        if self.overlap == Overlap::Skip && ticks.len() > 1 {
            // The second would overlap with the first.
            ticks.drain(..ticks.len() - 1);
        }
        ticks
    }

    /// The job of a tick, or of a person who does not wait for the next one.
    pub fn new_job(&self, tick: Option<Timestamp>, now: Timestamp) -> NewJob {
        let mut job = self.template.to_new_job(now);
        job.metadata
            .insert(METADATA_SCHEDULE.to_owned(), self.id.to_string().into());
        if let Some(tick) = tick {
            let tick = tick.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
            job.metadata.insert(METADATA_TICK.to_owned(), tick.into());
        }
        job
    }

    fn check(&self, now: Timestamp, violations: &mut Violations) {
        violations.text("/cron", &self.cron, 1, CRON_MAX);
        violations.text("/timezone", &self.timezone, 1, TIMEZONE_MAX);
        if let Some(after) = self.template.deadline_after_seconds {
            let after = after.into();
            violations.range("/deadline_after_seconds", after, 1, DEADLINE_AFTER_MAX);
        }
        let mut of_template = Violations::default();
        self.template.check(&mut of_template);
        let sample = NewJob {
            // Checked already, where it stands.
            deadline: None,
            ..self.new_job(Some(now), now)
        };
        let id = JobId::from_uuid(Uuid::nil());
        if let Err(wrong) = sample.into_job(id, self.tenant, now) {
            of_template.0.extend(wrong.0);
        }
        let place = format!("/{}", self.template.spec.kind());
        violations.0.extend(of_template.below(&place).0);
    }
}

/// True when that made a difference.
fn set(field: &mut String, value: String) -> bool {
    let differs = *field != value;
    *field = value;
    differs
}

fn check_name(name: &str, violations: &mut Violations) {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_slug = name.len() <= NAME_MAX
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_slug {
        violations.add(
            "/name",
            "must be 1 to 63 characters of a-z, 0-9 and -, starting and ending with a letter or digit",
        );
    } else if Uuid::parse_str(name).is_ok() {
        violations.add(
            "/name",
            "must not look like an id: addresses take either of them",
        );
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::{Map, json};

    use super::*;
    use crate::{AgentSpec, JobSpec, Labels, Priority, SessionSpec};

    const MONDAY: Timestamp = Timestamp::UNIX_EPOCH;

    fn template() -> JobTemplate {
        JobTemplate {
            title: "nightly".to_owned(),
            priority: Priority::Low,
            tags: vec!["nightly".to_owned()],
            metadata: Map::new(),
            spec: JobSpec::Session(SessionSpec {
                prompt: String::new(),
                agent: AgentSpec::ECHO,
                repository: None,
                keep: Vec::new(),
            }),
            max_duration_seconds: 60,
            max_attempts: 3,
            requires: Labels::default(),
            start: true,
            parent: None,
            deadline_after_seconds: None,
        }
    }

    fn new_schedule() -> NewSchedule {
        NewSchedule {
            name: "nightly".to_owned(),
            cron: "0 3 * * *".to_owned(),
            timezone: "UTC".to_owned(),
            template: template(),
            missed: MissedTicks::Latest,
            overlap: Overlap::Allow,
            paused: false,
        }
    }

    fn hours(count: i64) -> Timestamp {
        MONDAY + TimeDelta::hours(count)
    }

    fn made(new: NewSchedule) -> Result<Schedule, Violations> {
        let id = Uuid::from_u128(7);
        let tenant = TenantId::from_uuid(id);
        new.into_schedule(ScheduleId::from_uuid(id), tenant, hours(3), MONDAY)
    }

    fn schedule() -> Schedule {
        made(new_schedule()).unwrap()
    }

    #[test]
    fn all_that_is_wrong_is_told_where_it_stands() {
        let wrong = NewSchedule {
            name: "Nightly build".to_owned(),
            cron: "* ".repeat(CRON_MAX),
            timezone: String::new(),
            template: JobTemplate {
                title: String::new(),
                max_attempts: 0,
                metadata: json!({"schedule": "mine"})
                    .as_object()
                    .cloned()
                    .unwrap_or_default(),
                deadline_after_seconds: Some(0),
                ..template()
            },
            ..new_schedule()
        };
        let pointers: Vec<String> = made(wrong)
            .unwrap_err()
            .0
            .into_iter()
            .map(|it| it.pointer)
            .collect();
        let expected = [
            "/name",
            "/cron",
            "/timezone",
            "/deadline_after_seconds",
            "/session/metadata/schedule",
            "/session/title",
            "/session/max_attempts",
        ];
        assert_eq!(pointers, expected);
        let id_as_name = NewSchedule {
            name: Uuid::from_u128(1).to_string(),
            ..new_schedule()
        };
        assert!(made(id_as_name).is_err());
    }

    #[test]
    fn a_job_names_its_schedule_and_its_tick() {
        let mut schedule = schedule();
        schedule.template.deadline_after_seconds = Some(3_600);
        let job = schedule.new_job(Some(hours(3)), hours(4));
        assert_eq!(job.metadata["schedule"], json!(schedule.id.to_string()));
        assert_eq!(job.metadata["schedule_tick"], json!("1970-01-01T03:00:00Z"));
        assert_eq!(job.deadline, Some(hours(5)), "from when the job is made");
        assert!(job.start && job.run_after.is_none() && job.depends_on.is_empty());
        let by_hand = schedule.new_job(None, MONDAY);
        assert!(!by_hand.metadata.contains_key("schedule_tick"));
    }

    #[test]
    fn missed_ticks_make_the_jobs_that_were_asked_for() {
        use MissedTicks::{All, Latest, Skip};
        let fire = |missed, overlap, come: &[i64], now: Timestamp| -> Vec<Timestamp> {
            let schedule = Schedule {
                missed,
                overlap,
                ..schedule()
            };
            let come: Vec<Timestamp> = come.iter().map(|hour| hours(*hour)).collect();
            schedule.ticks_to_fire(&come, now)
        };
        let late = hours(3) + TimeDelta::minutes(5);
        let on_time = hours(3) + TimeDelta::seconds(59);
        assert_eq!(fire(Latest, Overlap::Allow, &[1, 2, 3], late), [hours(3)]);
        assert!(fire(Skip, Overlap::Allow, &[1, 2, 3], late).is_empty());
        assert_eq!(fire(Skip, Overlap::Allow, &[1, 2, 3], on_time), [hours(3)]);
        let all = [hours(1), hours(2), hours(3)];
        assert_eq!(fire(All, Overlap::Allow, &[1, 2, 3], late), all);
        assert_eq!(fire(All, Overlap::Skip, &[1, 2, 3], late), [hours(3)]);
        assert!(fire(All, Overlap::Allow, &[], late).is_empty());
        let many: Vec<i64> = (1..=500).collect();
        let bounded = fire(All, Overlap::Allow, &many, hours(500));
        assert_eq!(bounded.len(), MissedTicks::ALL_MAX);
        assert_eq!(bounded.last(), Some(&hours(500)));
    }

    #[test]
    fn a_change_changes_what_it_names_and_no_more() {
        let change = |change: ScheduleChange| {
            schedule()
                .change(change, hours(9), hours(4))
                .unwrap()
                .next_at
        };
        let template_with = |title: &str| JobTemplate {
            title: title.to_owned(),
            ..template()
        };
        let edit = ScheduleChange {
            missed: Some(MissedTicks::All),
            cron: Some("0 3 * * *".to_owned()),
            ..ScheduleChange::default()
        };
        assert_eq!(change(edit), Some(hours(3)), "due already, stays due");
        let cron = ScheduleChange {
            cron: Some("0 9 * * *".to_owned()),
            ..ScheduleChange::default()
        };
        assert_eq!(change(cron), Some(hours(9)));
        let pause = |paused| ScheduleChange {
            paused: Some(paused),
            ..ScheduleChange::default()
        };
        assert_eq!(change(pause(true)), None);
        let set = |deadline_after_seconds| ScheduleChange {
            template: Some(template_with("edited")),
            deadline_after_seconds,
            ..ScheduleChange::default()
        };
        let mut timed = schedule();
        timed.template.deadline_after_seconds = Some(60);
        let deadline = |change| {
            let changed = timed.clone().change(change, hours(9), MONDAY).unwrap();
            assert_eq!(changed.template.title, "edited");
            changed.template.deadline_after_seconds
        };
        assert_eq!(deadline(set(None)), Some(60));
        assert_eq!(deadline(set(Some(Some(5)))), Some(5));
        assert_eq!(deadline(set(Some(None))), None);
        let paused = schedule().change(pause(true), hours(9), MONDAY).unwrap();
        let resumed = paused.change(pause(false), hours(99), hours(98)).unwrap();
        assert_eq!((resumed.next_at, resumed.version), (Some(hours(99)), 3));
    }
}
