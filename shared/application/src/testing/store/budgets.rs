//! Budgets of families: what children use counts above them, in the report's own transaction.

use domain::{
    Action, Budget, FAMILY_DEPTH_MAX, Job, JobId, NewJob, OnLimit, OverBudget, Spent, Tenant,
    Whose, WorkerRef,
};

use super::report::report_of;
use super::{StoreUnderTest, World};
use crate::ports::{Refused, Standing, SteerError, Submission};
use crate::testing::make;

/// A session with this budget, if any, below `parent`.
fn new(title: &str, tokens: Option<u64>, on_limit: OnLimit, parent: Option<&Job>) -> NewJob {
    let mut new = NewJob {
        parent: parent.map(|parent| parent.id),
        ..make::new_session(title)
    };
    if let domain::JobSpec::Session(session) = &mut new.spec {
        session.demands.budget = tokens.map(|tokens| Budget {
            tokens: Some(tokens),
            on_limit,
            ..Budget::default()
        });
    }
    new
}

async fn submitted(world: &World, tenant: &Tenant, limit: Option<u64>, above: Option<&Job>) -> Job {
    let new = new("in a family", limit, OnLimit::Pause, above);
    world.submitted(tenant, new).await
}

/// The run says what all runs of its session have used; who has to end because of it.
async fn says(
    world: &World,
    worker: WorkerRef,
    job: &Job,
    tokens: u64,
) -> Vec<(JobId, OverBudget)> {
    let mut report = report_of(job);
    report.spent = Some(Spent {
        input_tokens: tokens,
        ..Spent::default()
    });
    let reported = world.store.engine.report(worker, vec![report], world.now());
    let reported = reported.await.expect("the store works");
    assert_eq!(reported.lost, []);
    reported.over
}

async fn standing(world: &World, job: &Job) -> Standing {
    let standing = world.store.engine.standing(job.tenant, job.id).await;
    standing.expect("the store works").expect("it is there")
}

async fn offered(world: &World, tenant: &Tenant, new: NewJob) -> Result<(), Refused> {
    let submission = Submission {
        tenant: tenant.id,
        jobs: vec![world.job(tenant, new)],
    };
    let submitted = world.store.jobs.submit(vec![submission], world.now()).await;
    let mut outcomes = submitted.expect("the store works").outcomes;
    outcomes.pop().expect("one a submission")
}

async fn paused(world: &World, worker: WorkerRef, job: &Job, over: OverBudget) {
    let ending = domain::Ending::OverBudget {
        stop: over.stop,
        error: over.error,
        result: None,
    };
    world.finish(worker, job, ending).await;
}

async fn steered(world: &World, job: &Job, action: Action) -> Result<(), SteerError> {
    let jobs = &world.store.jobs;
    let steered = jobs.steer(job.tenant, job.id, action, world.now());
    steered
        .await
        .map(|steered| assert!(steered.is_some(), "{action}"))
}

pub async fn what_a_session_uses_counts_above_it(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 10).await;
    let root = submitted(&world, &tenant, Some(100), None).await;
    let middle = submitted(&world, &tenant, None, Some(&root)).await;
    let child = submitted(&world, &tenant, Some(30), Some(&middle)).await;
    let stranger = submitted(&world, &tenant, Some(10), None).await;
    let worker = world.worker().await;
    let runs = world.claim_some(worker, root.queue(), 4).await.jobs;
    let run = |job: &Job| runs.iter().find(|run| run.id == job.id).expect("it runs");

    assert_eq!(says(&world, worker, run(&child), 29).await, []);
    assert_eq!(
        says(&world, worker, run(&child), 29).await,
        [],
        "sent again"
    );
    let less = says(&world, worker, run(&child), 3).await;
    assert_eq!(less, [], "less than was said changes nothing");
    assert_eq!(says(&world, worker, run(&middle), 40).await, []);
    assert_eq!(says(&world, worker, run(&root), 30).await, [], "99 of 100");
    assert_eq!(says(&world, worker, run(&stranger), 9).await, []);

    // The child reaches its own limit and its family's: its own is named.
    let over = says(&world, worker, run(&child), 30).await;
    let [(job, over)] = &over[..] else {
        panic!("{over:?}")
    };
    assert_eq!(
        (*job, over.whose, over.stop),
        (child.id, Whose::Session, false)
    );
    // The one between has none of its own, and is held by the first's.
    let over = says(&world, worker, run(&middle), 40).await;
    let [(job, over)] = &over[..] else {
        panic!("{over:?}")
    };
    assert_eq!((*job, over.whose), (middle.id, Whose::Family));
    let message = &over.error.message;
    assert!(message.contains(&root.id.to_string()), "{message}");
    assert!(message.contains("100 of 100 tokens"), "{message}");

    assert_eq!(
        standing(&world, &root).await.over.map(|it| it.whose),
        Some(Whose::Session)
    );
    let free = standing(&world, &stranger).await;
    assert_eq!((free.spent.input_tokens, free.over), (9, None));
    let other = world.tenant("other").await;
    let theirs = world.store.engine.standing(other.id, root.id).await;
    assert_eq!(theirs.expect("the store works"), None);
}

pub async fn one_call_adds_up_what_a_family_uses(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 10).await;
    let root = submitted(&world, &tenant, Some(100), None).await;
    for _ in 0..4 {
        submitted(&world, &tenant, None, Some(&root)).await;
    }
    let worker = world.worker().await;
    let runs = world.claim_some(worker, root.queue(), 5).await.jobs;
    let reports = runs
        .iter()
        .filter(|run| run.id != root.id)
        .map(|run| {
            let mut report = report_of(run);
            report.spent = Some(Spent {
                output_tokens: 25,
                ..Spent::default()
            });
            report
        })
        .collect();
    let reported = world
        .store
        .engine
        .report(worker, reports, world.now())
        .await;
    let over = reported.expect("the store works").over;
    assert_eq!(over.len(), 4, "each of them learns of it: {over:?}");
}

/// Of many workers that report for one family at once, none is forgotten, and none waits for another for ever.
pub async fn reports_at_once_are_all_counted(store: StoreUnderTest) {
    const WORKERS: u32 = 4;
    const CHILDREN: u32 = 3;
    const REPORTS: u64 = 10;
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 100).await;
    let root = submitted(&world, &tenant, Some(1_000_000), None).await;
    let second = submitted(&world, &tenant, Some(1_000_000), Some(&root)).await;
    for _ in 0..WORKERS * CHILDREN {
        submitted(&world, &tenant, Some(1_000_000), Some(&second)).await;
    }
    let first = world.worker().await;
    world.claim_some(first, root.queue(), 2).await;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let worker = world.worker().await;
        let runs = world.claim_some(worker, root.queue(), CHILDREN).await.jobs;
        assert_eq!(runs.len(), CHILDREN as usize);
        let world = world.clone();
        workers.push(tokio::spawn(async move {
            for said in 1..=REPORTS {
                let reports = runs.iter().rev().map(|run| {
                    let mut report = report_of(run);
                    report.spent = Some(Spent {
                        input_tokens: said,
                        steps: said,
                        ..Spent::default()
                    });
                    report
                });
                let reports = reports.collect();
                let reported = world.store.engine.report(worker, reports, world.now());
                reported.await.expect("the store works");
            }
        }));
    }
    for worker in workers {
        worker.await.expect("no panic");
    }
    // One more token than was granted would show.
    let all = u64::from(WORKERS * CHILDREN) * REPORTS;
    let month = domain::Month::of(world.now());
    let month = world.store.tenants.month(tenant.id, month).await;
    assert_eq!(month.expect("the store works").tokens, all);
    let run = world.get(&root).await;
    let over = says(&world, first, &run, 1_000_000 - all - 1).await;
    assert_eq!(over, []);
    let over = says(&world, first, &run, 1_000_000 - all).await;
    assert_eq!(over.len(), 1, "{over:?}");
}

pub async fn a_resume_grants_what_is_used_up_once(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 10).await;
    let root = submitted(&world, &tenant, Some(100), None).await;
    let left = submitted(&world, &tenant, None, Some(&root)).await;
    let right = submitted(&world, &tenant, None, Some(&root)).await;
    let worker = world.worker().await;
    let runs = world.claim_some(worker, root.queue(), 3).await.jobs;
    let run = |job: &Job| runs.iter().find(|run| run.id == job.id).expect("it runs");
    for (job, tokens) in [(&left, 130), (&right, 5)] {
        let mut over = says(&world, worker, run(job), tokens).await;
        let (_, over) = over.pop().expect("the family's budget is used up");
        paused(&world, worker, run(job), over).await;
    }
    let child = new("another", None, OnLimit::Pause, Some(&root));
    let refused = offered(&world, &tenant, child.clone()).await;
    let what = "135 of 100 tokens".to_owned();
    assert_eq!(refused, Err(Refused::BudgetUsedUp { of: root.id, what }));
    // What one child is granted, the other need not be: 200 in all, of which 65 are left.
    steered(&world, &right, Action::Stop)
        .await
        .expect("allowed");
    for (job, action) in [(&left, Action::Resume), (&right, Action::Retry)] {
        steered(&world, job, action).await.expect("allowed");
        assert_eq!(standing(&world, job).await.over, None);
    }
    assert_eq!(offered(&world, &tenant, child).await, Ok(()));
    let runs = world.claim_some(worker, root.queue(), 2).await.jobs;
    let again = runs.iter().find(|run| run.id == left.id).expect("it runs");
    assert_eq!(says(&world, worker, again, 194).await, []);
    let over = says(&world, worker, again, 195).await;
    assert!(
        over[0].1.error.message.contains("200 of 200 tokens"),
        "{over:?}"
    );
}

pub async fn a_budget_that_stops_is_not_granted_again(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 10).await;
    let stops = new("stops", Some(10), OnLimit::Stop, None);
    let root = world.submitted(&tenant, stops).await;
    let child = submitted(&world, &tenant, Some(5), Some(&root)).await;
    let worker = world.worker().await;
    let runs = world.claim_some(worker, root.queue(), 2).await.jobs;
    let run = runs.iter().find(|run| run.id == child.id).expect("it runs");
    let over = says(&world, worker, run, 10).await;
    assert_eq!((over[0].1.whose, over[0].1.stop), (Whose::Family, true));
    // A person paused the child before it heard of that.
    world
        .finish(worker, run, domain::Ending::Paused(None))
        .await;
    let refused = async |action| match steered(&world, &child, action).await {
        Err(SteerError::Refused(Refused::BudgetUsedUp { of, .. })) => assert_eq!(of, root.id),
        other => panic!("{action}: {other:?}"),
    };
    refused(Action::Resume).await;
    assert_eq!(world.get(&child).await.state(), domain::JobState::Paused);
    steered(&world, &child, Action::Stop)
        .await
        .expect("allowed");
    refused(Action::Retry).await;
    assert_eq!(world.get(&child).await.state(), domain::JobState::Stopped);
    assert!(
        standing(&world, &child)
            .await
            .over
            .is_some_and(|over| over.stop)
    );
}

pub async fn a_family_has_no_more_generations_than_it_may(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut last = submitted(&world, &tenant, Some(100), None).await;
    for _ in 1..FAMILY_DEPTH_MAX {
        last = submitted(&world, &tenant, None, Some(&last)).await;
    }
    let beyond = new("beyond", None, OnLimit::Pause, Some(&last));
    let refused = offered(&world, &tenant, beyond).await;
    assert_eq!(refused, Err(Refused::FamilyTooDeep(last.id)));
    world.counts_are_right(&tenant).await;
}
