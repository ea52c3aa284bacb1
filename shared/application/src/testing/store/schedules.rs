//! Schedules are kept by their tenants.

use domain::{MissedTicks, Overlap, Schedule};

use super::StoreUnderTest;
use super::clockwork::{Clockwork, HOUR, OK, hourly, paused};
use crate::ports::{SCHEDULES_MAX, ScheduleStoreError};

pub async fn a_schedule_reads_back_as_it_was_created(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let mut new = hourly("nightly-2");
    "30 2 * * 1-5".clone_into(&mut new.cron);
    "Europe/Berlin".clone_into(&mut new.timezone);
    new.missed = MissedTicks::All;
    new.overlap = Overlap::Skip;
    new.template.title.push_str(" \"&\" Söhne");
    new.template.tags.push("näch{t},ly".to_owned());
    new.template
        .metadata
        .insert("deep".to_owned(), serde_json::json!({"a": [1, null, "x"]}));
    new.template.deadline_after_seconds = Some(3_600);
    let schedule = it.created(&tenant, new).await;
    assert_eq!(it.get(&schedule).await, schedule);
    let by_name = it.schedules.schedule_by_name(tenant.id, "nightly-2").await;
    assert_eq!(by_name.expect(OK), Some(schedule.clone()));
    let missing = it.schedules.schedule_by_name(tenant.id, "nightly").await;
    assert_eq!(missing.expect(OK), None);
    let mut resting = hourly("resting");
    resting.paused = true;
    let resting = it.created(&tenant, resting).await;
    assert_eq!(it.get(&resting).await.next_at, None);
}

pub async fn schedules_are_their_tenants_own(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let other = it.world.tenant("other").await;
    let schedule = it.created(&tenant, hourly("nightly")).await;
    let schedules = &it.schedules;
    let found = schedules.schedule(other.id, schedule.id).await;
    assert_eq!(found.expect(OK), None);
    let found = schedules.schedule_by_name(other.id, "nightly").await;
    assert_eq!(found.expect(OK), None);
    assert_eq!(schedules.schedules(other.id, None, 9).await.expect(OK), []);
    let deleted = schedules.delete_schedule(other.id, schedule.id).await;
    assert!(!deleted.expect(OK));
    let theirs = Schedule {
        tenant: other.id,
        ..schedule.clone()
    };
    assert!(!it.change(&theirs, paused(true)).await);
    it.world.pass(HOUR);
    let fired = it.fire(it.firing(&theirs)).await;
    assert!(fired.moved && fired.jobs.is_empty());
    assert_eq!(it.get(&schedule).await, schedule, "nothing was touched");
    it.created(&other, hourly("nightly")).await;
}

pub async fn schedules_are_listed_by_name(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    for name in ["c", "a", "b-2", "b"] {
        it.created(&tenant, hourly(name)).await;
    }
    let page = async |after: Option<&str>, limit| {
        let page = it.schedules.schedules(tenant.id, after, limit).await;
        let page = page.expect(OK).into_iter();
        page.map(|it| it.name).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3).await, ["a", "b", "b-2"]);
    assert_eq!(page(Some("b-2"), 3).await, ["c"]);
    assert_eq!(page(Some("a"), 1).await, ["b"]);
    assert!(page(Some("c"), 3).await.is_empty());
}

pub async fn a_schedules_name_is_taken_once(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    let first = it.created(&tenant, hourly("nightly")).await;
    let second = it.made(&tenant, hourly("nightly"));
    match it.schedules.create_schedule(second.clone()).await {
        Err(ScheduleStoreError::NameTaken(name)) => assert_eq!(name, "nightly"),
        other => panic!("{other:?}"),
    }
    let deleted = it.schedules.delete_schedule(tenant.id, first.id).await;
    assert!(deleted.expect(OK));
    it.schedules.create_schedule(second).await.expect("free");
}

pub async fn a_tenant_has_no_more_schedules_than_it_may(store: StoreUnderTest) {
    let it = Clockwork::new(store);
    let tenant = it.world.tenant("acme").await;
    for n in 0..SCHEDULES_MAX {
        it.created(&tenant, hourly(&format!("s-{n}"))).await;
    }
    let one_more = it.made(&tenant, hourly("one-more"));
    let refused = it.schedules.create_schedule(one_more).await;
    assert!(matches!(refused, Err(ScheduleStoreError::TooMany)));
    let other = it.world.tenant("other").await;
    it.created(&other, hourly("first")).await;
}
