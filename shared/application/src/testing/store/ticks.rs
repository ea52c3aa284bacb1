//! Schedules fire: once a tick whoever tries, and whatever is in the way is told.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use domain::{
    Ending, JobTemplate, MissedTicks, NewSchedule, Overlap, Schedule, ScheduleChange, TenantChange,
};

use super::StoreUnderTest;
use super::clockwork::{Clockwork, HOUR, OK, hourly, paused};
use crate::ports::{QueueAction, Refused};
use crate::testing::make;

pub async fn a_tick_makes_a_job_that_waits_in_its_queue(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let schedule = it.created(&tenant, hourly("nightly")).await;
    let moment = Duration::from_micros(1);
    it.world.pass(HOUR.saturating_sub(moment));
    let before = it.schedules.due_schedules(10, it.world.now()).await;
    let before = before.expect(OK);
    assert!(before.schedules.is_empty(), "a moment before the tick");
    assert_eq!(before.next, Some(Clockwork::on_the_hour(1)));
    it.world.pass(moment);
    assert_eq!(it.due().await, std::slice::from_ref(&schedule));
    let fired = it.tick(&schedule).await;
    let [made] = fired.jobs[..] else {
        panic!("one job: {fired:?}");
    };
    let job = it.job(&tenant, made).await;
    assert_eq!(job.title, "of nightly");
    assert_eq!(job.metadata["schedule"], schedule.id.to_string());
    assert_eq!(it.world.events(&job).await, ["created", "queued"]);
    assert_eq!(it.world.counts(job.queue()).await, (0, 1, 1));
    assert_eq!(fired.submitted.publish.len(), 1, "to be sent now");
    assert!(!fired.submitted.slots.is_empty());
    let after = it.get(&schedule).await;
    assert_eq!(after.next_at, Some(Clockwork::on_the_hour(2)));
    assert_eq!(after.last_tick_at, Some(Clockwork::on_the_hour(1)));
    assert_eq!((after.last_job, after.last_error), (Some(made), None));
    assert_eq!(after.version, schedule.version, "nobody edited it");
    assert!(it.due().await.is_empty());
    let (worker, ran) = {
        let worker = it.world.worker().await;
        (worker, it.world.run(worker, &job).await)
    };
    let ending = Ending::Completed(make::session_result("done"));
    it.world.finish(worker, &ran, ending).await;
    it.world.no_drift().await;
}

pub async fn firers_at_once_make_one_job(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let schedule = it.created(&tenant, hourly("nightly")).await;
    for round in 1..=5 {
        it.world.pass(HOUR);
        let now = it.world.now();
        let stored = it.get(&schedule).await;
        let firers = (0..8).map(|_| {
            let (firing, schedules) = (it.firing(&stored), Arc::clone(&it.schedules));
            tokio::spawn(async move { schedules.fire(firing, now).await.expect(OK) })
        });
        let mut fired = Vec::new();
        for firer in firers.collect::<Vec<_>>() {
            fired.push(firer.await.expect("no firer panics"));
        }
        let made: usize = fired.iter().map(|fired| fired.jobs.len()).sum();
        let moved = fired.iter().filter(|fired| fired.moved).count();
        assert_eq!((made, moved), (1, 7), "round {round}");
    }
    it.world.counts_are_right(&tenant).await;
}

pub async fn missed_ticks_become_what_was_asked_for(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let mut of = Vec::new();
    for missed in MissedTicks::ALL {
        let new = NewSchedule {
            missed,
            ..hourly(missed.as_str())
        };
        of.push((missed, it.created(&tenant, new).await));
    }
    // Five ticks, the latest half an hour ago.
    it.world.pass(HOUR * 5 + HOUR / 2);
    for (missed, schedule) in of {
        let fired = it.tick(&schedule).await;
        let mut ticks = Vec::new();
        for id in &fired.jobs {
            ticks.push(it.job(&tenant, *id).await.metadata["schedule_tick"].clone());
        }
        let hour = |hour: i64| {
            Clockwork::on_the_hour(hour).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
        };
        let expected: Vec<String> = match missed {
            MissedTicks::Skip => Vec::new(),
            MissedTicks::Latest => vec![hour(5)],
            MissedTicks::All => (1..=5).map(hour).collect(),
        };
        assert_eq!(ticks, expected, "{missed}");
        let after = it.get(&schedule).await;
        assert_eq!(after.next_at, Some(Clockwork::on_the_hour(6)), "{missed}");
        assert_eq!(
            after.last_tick_at,
            Some(Clockwork::on_the_hour(5)),
            "{missed}"
        );
        assert_eq!(after.last_job, fired.jobs.last().copied(), "{missed}");
        let why = after.last_error.map(|error| error.message);
        assert_eq!(why.is_some(), fired.jobs.is_empty(), "{missed}: {why:?}");
    }
    assert!(it.due().await.is_empty());
}

pub async fn a_paused_schedule_does_not_fire(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let schedule = it.created(&tenant, hourly("nightly")).await;
    it.world.pass(HOUR);
    // Seen as due, paused by somebody, then fired.
    let firing = it.firing(&schedule);
    assert!(it.change(&schedule, paused(true)).await);
    let resting = it.get(&schedule).await;
    assert!(resting.paused && resting.next_at.is_none());
    assert_eq!(resting.version, schedule.version + 1);
    assert!(it.fire(firing).await.moved);
    assert!(it.due().await.is_empty());
    it.world.pass(HOUR * 5);
    assert!(it.due().await.is_empty());
    assert!(it.change(&resting, paused(false)).await);
    assert!(
        it.due().await.is_empty(),
        "what passed in a pause was not missed"
    );
    let awake = it.get(&schedule).await;
    assert_eq!(awake.next_at, Some(Clockwork::on_the_hour(7)));
    it.world.pass(HOUR);
    assert_eq!(it.tick(&schedule).await.jobs.len(), 1);
}

pub async fn of_an_edit_and_a_tick_the_second_looks_again(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let schedule = it.created(&tenant, hourly("nightly")).await;
    it.world.pass(HOUR);
    assert_eq!(it.tick(&schedule).await.jobs.len(), 1);
    assert!(
        !it.change(&schedule, paused(true)).await,
        "a tick came between"
    );
    let seen = it.get(&schedule).await;
    let edit = ScheduleChange {
        missed: Some(MissedTicks::Skip),
        template: Some(JobTemplate {
            title: "edited".to_owned(),
            ..seen.template.clone()
        }),
        ..ScheduleChange::default()
    };
    it.world.pass(HOUR);
    let firing = it.firing(&seen);
    let edited = it.changed(&seen, edit);
    let changed = it.schedules.change_schedule(&seen, &edited).await;
    assert!(changed.expect(OK));
    assert_eq!(it.get(&schedule).await, edited);
    assert!(it.fire(firing).await.moved, "made of what it was");
    let fired = it.tick(&schedule).await;
    assert_eq!(it.job(&tenant, fired.jobs[0]).await.title, "edited");
}

pub async fn a_tick_does_not_overlap_where_it_must_not(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let new = NewSchedule {
        overlap: Overlap::Skip,
        ..hourly("alone")
    };
    let schedule = it.created(&tenant, new).await;
    it.world.pass(HOUR);
    let first = it.tick(&schedule).await.jobs[0];
    let worker = it.world.worker().await;
    let running = it.world.run(worker, &it.job(&tenant, first).await).await;
    it.world.pass(HOUR);
    let second = it.tick(&schedule).await;
    assert_eq!((second.overlaps, second.jobs), (Some(first), vec![]));
    let after = it.get(&schedule).await;
    assert_eq!(after.last_tick_at, Some(Clockwork::on_the_hour(2)));
    assert_eq!(after.last_job, Some(first));
    let error = after.last_error.expect("it is told");
    assert_eq!(error.at, it.world.now());
    let told = error.message.contains(&first.to_string());
    assert!(told, "{}", error.message);
    let ending = Ending::Completed(make::session_result("done"));
    it.world.finish(worker, &running, ending).await;
    it.world.pass(HOUR);
    let third = it.tick(&schedule).await;
    assert_eq!((third.overlaps, third.jobs.len()), (None, 1));
    assert_eq!(it.get(&schedule).await.last_error, None, "it made a job");
}

pub async fn a_refused_tick_is_told_and_the_next_one_comes(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let mut new = make::new_tenant("acme");
    new.max_queued = 2;
    let tenant = it.world.tenant_of(new).await;
    let all = NewSchedule {
        missed: MissedTicks::All,
        ..hourly("nightly")
    };
    let schedule = it.created(&tenant, all).await;
    it.world.pass(HOUR * 3);
    let fired = it.tick(&schedule).await;
    assert_eq!(fired.jobs.len(), 2, "those that there is room for");
    assert!(matches!(
        fired.refused,
        Some(Refused::BacklogFull { limit: 2, .. })
    ));
    let after = it.get(&schedule).await;
    let error = after.last_error.expect("it is told");
    assert_eq!(error.at, it.world.now());
    assert!(error.message.contains("limit is 2"), "{}", error.message);
    assert_eq!(after.last_job, fired.jobs.last().copied());
    assert_eq!(after.next_at, Some(Clockwork::on_the_hour(4)));
    let room = TenantChange {
        max_queued: Some(100),
        ..TenantChange::default()
    };
    it.change_tenant(&tenant, room).await;
    it.world.pass(HOUR);
    assert_eq!(it.tick(&schedule).await.jobs.len(), 1);
    assert_eq!(
        it.get(&schedule).await.last_error,
        None,
        "all is well again"
    );
    it.world.counts_are_right(&tenant).await;
}

pub async fn a_tick_of_a_closed_queue_or_tenant_is_refused(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let schedule = it.created(&tenant, hourly("nightly")).await;
    let steer = |action| it.world.store.jobs.steer_queues(tenant.id, None, action);
    steer(QueueAction::Drain).await.expect(OK);
    it.world.pass(HOUR);
    let refused = it.tick(&schedule).await.refused;
    assert!(matches!(refused, Some(Refused::QueueDraining { .. })));
    steer(QueueAction::Resume).await.expect(OK);
    let off = |active| TenantChange {
        active: Some(active),
        ..TenantChange::default()
    };
    it.change_tenant(&tenant, off(false)).await;
    it.world.pass(HOUR);
    let refused = it.tick(&schedule).await.refused;
    assert_eq!(refused, Some(Refused::TenantInactive(tenant.id)));
    it.change_tenant(&tenant, off(true)).await;
    it.world.pass(HOUR);
    let fired = it.tick(&schedule).await;
    assert_eq!((fired.refused, fired.jobs.len()), (None, 1));
}

pub async fn a_person_does_not_wait_for_the_tick(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let mut new = make::new_tenant("acme");
    new.max_queued = 2;
    let tenant = it.world.tenant_of(new).await;
    let alone = NewSchedule {
        overlap: Overlap::Skip,
        ..hourly("alone")
    };
    let schedule = it.created(&tenant, alone).await;
    let first = it.run_now(&schedule).await;
    assert_eq!(first.jobs.len(), 1);
    let second = it.run_now(&schedule).await;
    assert_eq!(second.jobs.len(), 1, "a person may overlap");
    let expected = Schedule {
        last_job: second.jobs.first().copied(),
        ..schedule.clone()
    };
    assert_eq!(it.get(&schedule).await, expected, "the ticks go on");
    let refused = it.run_now(&schedule).await;
    assert!(matches!(refused.refused, Some(Refused::BacklogFull { .. })));
    assert_eq!(it.get(&schedule).await, expected, "told to the person only");
    assert!(it.change(&expected, paused(true)).await);
    assert!(it.run_now(&schedule).await.moved, "it was edited meanwhile");
}

pub async fn a_deleted_schedule_leaves_its_jobs(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let schedule = it.created(&tenant, hourly("nightly")).await;
    it.world.pass(HOUR);
    let made = it.tick(&schedule).await.jobs[0];
    it.world.pass(HOUR);
    let firing = it.firing(&it.get(&schedule).await);
    let delete = || it.schedules.delete_schedule(tenant.id, schedule.id);
    assert!(delete().await.expect(OK));
    assert!(!delete().await.expect(OK), "it is gone");
    assert!(it.fire(firing).await.moved);
    assert!(it.due().await.is_empty());
    it.job(&tenant, made).await;
}

pub async fn the_longest_due_fire_first(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    for (name, cron) in [
        ("late", "30 * * * *"),
        ("early", "10 * * * *"),
        ("later", "50 * * * *"),
    ] {
        let new = NewSchedule {
            cron: cron.to_owned(),
            ..hourly(name)
        };
        it.created(&tenant, new).await;
    }
    it.world.pass(HOUR * 3 / 4);
    let due = it
        .schedules
        .due_schedules(1, it.world.now())
        .await
        .expect(OK);
    let names: Vec<&str> = due.schedules.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["early"]);
    let due = it
        .schedules
        .due_schedules(9, it.world.now())
        .await
        .expect(OK);
    let names: Vec<&str> = due.schedules.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["early", "late"]);
    assert_eq!(
        due.next,
        Some(Clockwork::on_the_hour(0) + TimeDelta::minutes(50))
    );
}
