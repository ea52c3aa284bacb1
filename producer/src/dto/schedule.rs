//! Schedules as the API takes and shows them.

use std::collections::BTreeMap;

use application::Timetable;
use application::use_cases::Offer;
use chrono::{DateTime, Utc};
use domain::{
    JobKind, JobTemplate, MissedTicks, NewSchedule, Overlap, Schedule, ScheduleChange, Timestamp,
    Violations,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::job::SpecBody;
use super::new_job::PriorityBody;
use super::new_session::NewSession;
use super::new_training::NewTraining;

/// So many of the next ticks are shown: enough to see what a timetable means.
const TICKS_SHOWN: usize = 3;

/// Jobs to make again and again. Either `session` or `training` says what they are made of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSchedule)]
pub(crate) struct NewScheduleBody {
    /// 1 to 63 of a-z, 0-9 and -; unique within the tenant; never changes.
    #[schema(example = "nightly-tests")]
    pub name: String,
    /// Minute, hour, day of month, month and day of week, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schema(example = "30 3 * * 1-5")]
    pub cron: String,
    /// Where these hours are told, as the IANA database names it. When its clocks change, a fixed time of day comes once
    /// a day: at the end of a gap, and the first of two times; anything else follows the clock on the wall.
    #[serde(default = "utc")]
    #[schema(default = "UTC", example = "Europe/Berlin")]
    pub timezone: String,
    /// The fields of `POST /api/v1/sessions`, but `run_after`, `deadline`, `name` and `depends_on`.
    pub session: Option<NewSession>,
    /// The fields of `POST /api/v1/fine-tuning/jobs`, but `run_after`, `deadline` and `depends_on`.
    pub training: Option<NewTraining>,
    /// Seconds from when a job is made to its deadline; at most 31 days.
    pub deadline_after_seconds: Option<u32>,
    #[serde(default)]
    #[schema(inline, default = "latest")]
    pub missed: MissedBody,
    #[serde(default)]
    #[schema(inline, default = "allow")]
    pub overlap: OverlapBody,
    /// True makes no jobs until it is resumed.
    #[serde(default)]
    pub paused: bool,
}

/// What to change about a schedule; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ScheduleChange)]
pub(crate) struct ScheduleChangeBody {
    pub cron: Option<String>,
    pub timezone: Option<String>,
    /// Replaces what its jobs are made of, as a whole.
    pub session: Option<NewSession>,
    /// Replaces what its jobs are made of, as a whole.
    pub training: Option<NewTraining>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    #[expect(clippy::option_option, reason = "absent, null, or a number")]
    pub deadline_after_seconds: Option<Option<u32>>,
    #[schema(inline)]
    pub missed: Option<MissedBody>,
    #[schema(inline)]
    pub overlap: Option<OverlapBody>,
    pub paused: Option<bool>,
}

/// What becomes of ticks that no worker saw within a minute.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MissedTicks)]
pub(crate) enum MissedBody {
    /// Nothing.
    Skip,
    /// One job for the latest of them.
    #[default]
    Latest,
    /// A job each, at most 100.
    All,
}

/// What a tick does while the schedule's previous job has not ended.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Overlap)]
pub(crate) enum OverlapBody {
    /// It makes a job beside it.
    #[default]
    Allow,
    /// It makes none.
    Skip,
}

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Schedule)]
pub(crate) struct ScheduleBody {
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub name: String,
    pub cron: String,
    pub timezone: String,
    /// What its sessions are made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<TemplateBody>,
    /// What its training jobs are made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<TemplateBody>,
    pub deadline_after_seconds: Option<u32>,
    #[schema(inline)]
    pub missed: MissedBody,
    #[schema(inline)]
    pub overlap: OverlapBody,
    pub paused: bool,
    /// Its next tick; null while it is paused.
    pub next_at: Option<DateTime<Utc>>,
    /// The next three ticks of its timetable, whether or not it is paused.
    pub next_ticks: Vec<DateTime<Utc>>,
    /// The latest tick that was dealt with, whatever came of it.
    pub last_tick_at: Option<DateTime<Utc>>,
    /// The latest job that it made.
    pub last_job_id: Option<Uuid>,
    /// Why its latest tick made no job: refused, left out for the previous job, or missed; null when it made one.
    pub last_error: Option<ScheduleErrorBody>,
    /// The same as in the `ETag`.
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What each job of a schedule is made of. Its `metadata` gets `schedule`, the schedule's id, and `schedule_tick`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobTemplate)]
pub(crate) struct TemplateBody {
    pub title: String,
    pub priority: PriorityBody,
    pub max_duration_seconds: u32,
    pub max_attempts: u32,
    pub tags: Vec<String>,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    pub requires: BTreeMap<String, String>,
    pub start: bool,
    pub parent_id: Option<Uuid>,
    #[serde(flatten)]
    #[schema(inline)]
    pub spec: SpecBody,
}

/// Why a tick made no job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScheduleError)]
pub(crate) struct ScheduleErrorBody {
    pub at: DateTime<Utc>,
    pub message: String,
}

/// A page of schedules, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SchedulePage {
    pub items: Vec<ScheduleBody>,
    /// Hand it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

#[expect(clippy::option_option, reason = "absent, null, or a number")]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl NewScheduleBody {
    /// The schedule to make; what is wrong with its values is found further in.
    pub fn into_new(self) -> Result<NewSchedule, Violations> {
        let template = template(self.session, self.training)?.ok_or_else(|| {
            let mut violations = Violations::default();
            let detail = "has neither session nor training; give one of them, to say what its jobs are made of";
            violations.add("", detail);
            violations
        })?;
        Ok(NewSchedule {
            name: self.name,
            cron: self.cron,
            timezone: self.timezone,
            template: JobTemplate {
                deadline_after_seconds: self.deadline_after_seconds,
                ..template
            },
            missed: self.missed.into(),
            overlap: self.overlap.into(),
            paused: self.paused,
        })
    }
}

impl ScheduleChangeBody {
    pub fn into_change(self) -> Result<ScheduleChange, Violations> {
        Ok(ScheduleChange {
            cron: self.cron,
            timezone: self.timezone,
            template: template(self.session, self.training)?,
            deadline_after_seconds: self.deadline_after_seconds,
            missed: self.missed.map(MissedTicks::from),
            overlap: self.overlap.map(Overlap::from),
            paused: self.paused,
        })
    }
}

/// What the jobs are made of, checked as far as the body alone tells.
fn template(
    session: Option<NewSession>,
    training: Option<NewTraining>,
) -> Result<Option<JobTemplate>, Violations> {
    let (place, offer) = match (session, training) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let mut violations = Violations::default();
            violations.add("", "has both session and training; give one of them");
            return Err(violations);
        }
        (Some(session), None) => ("/session", session.into_offer()),
        (None, Some(training)) => ("/training", training.into_offer()),
    };
    offer
        .and_then(of_offer)
        .map(Some)
        .map_err(|violations| violations.below(place))
}

fn of_offer(offer: Offer) -> Result<JobTemplate, Violations> {
    let mut violations = Violations::default();
    let once = [
        ("/name", offer.name.is_some(), "bulk requests"),
        ("/depends_on", !offer.after.is_empty(), "single jobs"),
    ];
    for (pointer, given, of) in once {
        if given {
            violations.add(pointer, format!("is for {of}, not for a schedule's jobs"));
        }
    }
    match JobTemplate::of(offer.job, None) {
        Ok(template) => violations.or(template),
        Err(others) => {
            violations.0.extend(others.0);
            Err(violations)
        }
    }
}

impl ScheduleBody {
    pub fn of(schedule: Schedule, now: Timestamp) -> Self {
        let timetable = Timetable::parse(&schedule.cron, &schedule.timezone);
        let next_ticks = timetable.map_or_else(|_| Vec::new(), |it| it.next(now, TICKS_SHOWN));
        let kind = schedule.template.spec.kind();
        let deadline_after_seconds = schedule.template.deadline_after_seconds;
        let template = TemplateBody::from(schedule.template);
        let (session, training) = match kind {
            JobKind::Session => (Some(template), None),
            JobKind::Training => (None, Some(template)),
        };
        Self {
            id: schedule.id.as_uuid(),
            tenant_id: schedule.tenant.as_uuid(),
            name: schedule.name,
            cron: schedule.cron,
            timezone: schedule.timezone,
            session,
            training,
            deadline_after_seconds,
            missed: schedule.missed.into(),
            overlap: schedule.overlap.into(),
            paused: schedule.paused,
            next_at: schedule.next_at,
            next_ticks,
            last_tick_at: schedule.last_tick_at,
            last_job_id: schedule.last_job.map(domain::JobId::as_uuid),
            last_error: schedule.last_error.map(|error| ScheduleErrorBody {
                at: error.at,
                message: error.message,
            }),
            version: schedule.version,
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
        }
    }
}

impl From<JobTemplate> for TemplateBody {
    fn from(template: JobTemplate) -> Self {
        Self {
            title: template.title,
            priority: template.priority.into(),
            max_duration_seconds: template.max_duration_seconds,
            max_attempts: template.max_attempts,
            tags: template.tags,
            metadata: template.metadata,
            requires: template.requires.0,
            start: template.start,
            parent_id: template.parent.map(domain::JobId::as_uuid),
            spec: template.spec.into(),
        }
    }
}

impl From<MissedBody> for MissedTicks {
    fn from(missed: MissedBody) -> Self {
        match missed {
            MissedBody::Skip => Self::Skip,
            MissedBody::Latest => Self::Latest,
            MissedBody::All => Self::All,
        }
    }
}

impl From<MissedTicks> for MissedBody {
    fn from(missed: MissedTicks) -> Self {
        match missed {
            MissedTicks::Skip => Self::Skip,
            MissedTicks::Latest => Self::Latest,
            MissedTicks::All => Self::All,
        }
    }
}

impl From<OverlapBody> for Overlap {
    fn from(overlap: OverlapBody) -> Self {
        match overlap {
            OverlapBody::Allow => Self::Allow,
            OverlapBody::Skip => Self::Skip,
        }
    }
}

impl From<Overlap> for OverlapBody {
    fn from(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Allow => Self::Allow,
            Overlap::Skip => Self::Skip,
        }
    }
}
