//! The tenant's month: counted with each report, held against starts and resumes, over when the month turns.

use std::time::Duration;

use chrono::TimeDelta;
use domain::{
    Action, Ending, Job, JobState, LimitChange, Month, MonthUse, MonthlyLimits, SlotSnapshot,
    Spent, Tenant, TenantChange, Timestamp, Whose, WorkerRef,
};

use super::report::report_of;
use super::{StoreUnderTest, World};
use crate::ports::{Refused, Reported, SteerError};
use crate::testing::make;

async fn limited(world: &World, tokens: Option<u64>, cost_usd: Option<f64>) -> Tenant {
    let mut new = make::new_tenant("acme");
    new.monthly = MonthlyLimits { tokens, cost_usd };
    world.tenant_of(new).await
}

async fn says(world: &World, worker: WorkerRef, job: &Job, tokens: u64, cost: f64) -> Reported {
    let mut report = report_of(job);
    report.spent = Some(Spent {
        output_tokens: tokens,
        cost,
        ..Spent::default()
    });
    let reported = world.store.engine.report(worker, vec![report], world.now());
    reported.await.expect("the store works")
}

async fn month(world: &World, tenant: &Tenant) -> MonthUse {
    let month = Month::of(world.now());
    let used = world.store.tenants.month(tenant.id, month).await;
    used.expect("the store works")
}

async fn change(world: &World, tenant: &Tenant, change: TenantChange) -> Vec<SlotSnapshot> {
    let tenants = &world.store.tenants;
    let changed = tenants.change_tenant(tenant.id, change, None, world.now());
    changed.await.expect("valid").expect("it is there").1
}

fn tokens(limit: LimitChange<u64>) -> TenantChange {
    TenantChange {
        monthly_tokens: limit,
        ..TenantChange::default()
    }
}

async fn turn(world: &World) -> Vec<SlotSnapshot> {
    let turned = world.store.engine.turn_months(world.now()).await;
    turned.expect("the store works")
}

async fn waits_until(world: &World, job: &Job) -> Option<Timestamp> {
    let waiting = world.store.jobs.waiting(job.tenant, job.id, world.now());
    let waiting = waiting.await.expect("the store works");
    waiting.expect("it is there").month_used_up_until
}

pub async fn what_sessions_use_counts_in_the_month_of_the_report(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = limited(&world, Some(100), Some(2.0)).await;
    let stored = world.store.tenants.tenant(tenant.id).await;
    assert_eq!(stored.expect("the store works"), Some(tenant.clone()));
    let other = world.tenant("other").await;
    let (worker, job) = world.running(&tenant, make::new_session("one")).await;
    assert_eq!(month(&world, &tenant).await, MonthUse::default());
    assert!(says(&world, worker, &job, 60, 0.5).await.over.is_empty());
    assert!(says(&world, worker, &job, 99, 1.25).await.over.is_empty());
    let used = MonthUse {
        tokens: 99,
        cost_usd: 1.25,
    };
    assert_eq!(month(&world, &tenant).await, used);
    assert_eq!(month(&world, &other).await, MonthUse::default());
    // The cost is used up first, and said to the run that reports.
    let reported = says(&world, worker, &job, 99, 2.5).await;
    let [(over_job, over)] = &reported.over[..] else {
        panic!("{reported:?}")
    };
    assert_eq!(
        (*over_job, over.whose, over.stop),
        (job.id, Whose::Tenant, false)
    );
    let message = &over.error.message;
    assert!(message.contains("month 2026-01"), "{message}");
    assert!(message.contains("a cost of 2.5 of 2"), "{message}");
    // A lost run reports nothing, and costs nothing.
    let late = Job {
        fence: job.fence - 1,
        ..job.clone()
    };
    let lost = says(&world, worker, &late, 1_000, 9.0).await;
    assert_eq!((lost.lost, lost.over.len()), (vec![job.id], 0));
    assert_eq!(month(&world, &tenant).await.tokens, 99);
}

pub async fn a_used_up_month_starts_no_sessions_until_it_turns(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = limited(&world, Some(100), None).await;
    let (worker, job) = world.running(&tenant, make::new_session("spends")).await;
    let waits = world.submitted(&tenant, make::new_session("waits")).await;
    let training = world.job(&tenant, make::new_training("costs no tokens"));
    world.submit(vec![training.clone()]).await;
    let before = world.slot(waits.queue()).await.expect("in use");
    let mut over = says(&world, worker, &job, 100, 0.0).await.over;
    let (_, over) = over.pop().expect("the month is used up");
    let ends = Month::of(world.now()).ends();

    let claimed = world.claim(worker, &[&waits]).await;
    assert_eq!(claimed.jobs, []);
    let slot = claimed.slots[0];
    assert!(
        slot.paused && slot.version > before.version,
        "hints learn of it"
    );
    assert_eq!(waits_until(&world, &waits).await, Some(ends));
    assert_eq!(world.relay(100).await.publish, []);
    assert_eq!(waits_until(&world, &training).await, None);
    world.run(worker, &training).await;

    let ending = Ending::OverBudget {
        stop: over.stop,
        error: over.error,
        result: None,
    };
    world.finish(worker, &job, ending).await;
    let resume = async || {
        let jobs = &world.store.jobs;
        jobs.steer(job.tenant, job.id, Action::Resume, world.now())
            .await
    };
    match resume().await {
        Err(SteerError::Refused(Refused::MonthUsedUp { until, seconds })) => {
            let left = (ends - world.now()).num_seconds().unsigned_abs();
            assert_eq!((until, seconds), (ends, left));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.get(&job).await.state(), JobState::Paused);

    // The last moment of the month is its own.
    let last = ends - TimeDelta::microseconds(1);
    world.pass((last - world.now()).to_std().expect("it is to come"));
    assert_eq!(turn(&world).await, []);
    world.pass(Duration::from_micros(1));
    let turned = turn(&world).await;
    let slot = turned.iter().find(|slot| slot.queue == waits.queue());
    let slot = slot.expect("its queues are told");
    assert!(!slot.paused && slot.due == 1, "{slot:?}");
    assert_eq!(turn(&world).await, [], "once");
    assert_eq!(month(&world, &tenant).await, MonthUse::default());
    assert_eq!(world.relay(100).await.publish.len(), 1);
    resume().await.expect("the month has turned");
    let worker = world.worker().await;
    world.run(worker, &waits).await;
    world.counts_are_right(&tenant).await;
}

pub async fn a_changed_limit_counts_at_once(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("spends")).await;
    let waits = world.submitted(&tenant, make::new_session("waits")).await;
    assert!(says(&world, worker, &job, 100, 3.0).await.over.is_empty());
    // What was used before the limit came counts.
    for (change_to, paused) in [
        (tokens(LimitChange::Set(100)), true),
        (tokens(LimitChange::Keep), true),
        (tokens(LimitChange::Set(101)), false),
        (tokens(LimitChange::Set(50)), true),
        (tokens(LimitChange::Lift), false),
    ] {
        let slots = change(&world, &tenant, change_to.clone()).await;
        for slot in slots {
            let expected = paused && slot.queue == waits.queue();
            assert_eq!(slot.paused, expected, "{change_to:?}: {slot:?}");
        }
    }
    let costs = TenantChange {
        monthly_cost_usd: LimitChange::Set(2.5),
        ..TenantChange::default()
    };
    change(&world, &tenant, costs).await;
    assert!(waits_until(&world, &waits).await.is_some());
    assert_eq!(says(&world, worker, &job, 100, 3.0).await.over.len(), 1);
    let more = TenantChange {
        monthly_cost_usd: LimitChange::Set(3.5),
        ..TenantChange::default()
    };
    change(&world, &tenant, more).await;
    assert!(says(&world, worker, &job, 100, 3.0).await.over.is_empty());
    world.run(worker, &waits).await;
    let stored = world.store.tenants.tenant(tenant.id).await;
    let stored = stored.expect("the store works").expect("it is there");
    let expected = MonthlyLimits {
        tokens: None,
        cost_usd: Some(3.5),
    };
    assert_eq!(stored.monthly, expected);
}
