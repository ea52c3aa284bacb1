//! A schedule: jobs that are made again and again, at the ticks of a timetable in cron's notation.
//!
//! What becomes of ticks is decided in `tick`; when they are is worked out by the application, which has the calendars
//! and time zones for it.

mod tick;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    JobId, JobTemplate, NewJob, ScheduleId, TenantId, Timestamp, Violations,
    template::{METADATA_SCHEDULE, METADATA_TICK},
};

pub use tick::{MissedTicks, Overlap, UnknownPolicy};

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
mod tests;
