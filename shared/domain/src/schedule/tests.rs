//! What is refused and where it is told, which ticks make jobs, what those jobs say, and what a change leaves alone.

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
            demands: Box::default(),
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
    let missed = hours(3) + MissedTicks::ON_TIME;
    assert!(fire(Skip, Overlap::Allow, &[1, 2, 3], missed).is_empty());
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
