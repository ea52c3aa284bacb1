//! What clients read: their own, filtered, in pages; never another tenant's.

use std::time::Duration;

use domain::{ArtifactId, Ending, Job, JobId, JobKind, JobState, LogCursor, Priority};
use serde_json::json;

use super::report::{artifact, chunk, report_of};
use super::{StoreUnderTest, World};
use crate::ports::{Ids, JobFilter};
use crate::testing::make;

pub async fn another_tenant_sees_nothing(store: StoreUnderTest) {
    let world = World::new(store);
    let owner = world.tenant("owner").await;
    let other = world.tenant("other").await.id;
    let (worker, job) = world.running(&owner, make::new_session("secret")).await;
    let mut report = report_of(&job);
    report.logs = vec![chunk(&world, &job, 1, "secret")];
    report.checkpoints = vec![json!("secret")];
    report.artifacts = vec![artifact(&world, &job, "secret.txt")];
    let kept = report.artifacts[0].id;
    world.report(worker, report).await;
    let jobs = &world.store.jobs;
    let id = job.id;
    let ok = "the store works";
    assert_eq!(jobs.get(other, id).await.expect(ok), None);
    assert_eq!(jobs.list(other, all()).await.expect(ok), []);
    assert_eq!(jobs.events(other, id, 0, 10).await.expect(ok), None);
    let start = LogCursor::default();
    assert_eq!(jobs.logs(other, id, start, 10).await.expect(ok), None);
    assert_eq!(jobs.log_tail(other, id, 10).await.expect(ok), None);
    assert_eq!(jobs.attempts(other, id).await.expect(ok), None);
    assert_eq!(jobs.artifacts(other, id).await.expect(ok), None);
    assert_eq!(jobs.artifact(other, id, kept).await.expect(ok), None);
    assert_eq!(jobs.latest_checkpoint(other, id).await.expect(ok), None);
    for action in domain::Action::ALL {
        let steered = jobs.steer(other, id, action, world.now()).await.expect(ok);
        assert!(steered.is_none(), "{action}");
    }
    assert_eq!(world.get(&job).await.stop_requested_at, None);
    // The owner has it all, but not under another job's id.
    let second = world.submitted(&owner, make::new_session("second")).await;
    let wrong = jobs.artifact(owner.id, second.id, kept).await.expect(ok);
    assert_eq!(wrong, None);
    let right = jobs.artifact(owner.id, id, kept).await.expect(ok);
    assert_eq!(right.map(|kept| kept.name), Some("secret.txt".to_owned()));
}

pub async fn a_job_without_history_is_not_a_missing_job(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let job = world.submitted(&tenant, make::new_session("new")).await;
    let nothing = JobId::from_uuid(world.ids.next(world.now()));
    let nowhere = ArtifactId::from_uuid(world.ids.next(world.now()));
    let jobs = &world.store.jobs;
    let ok = "the store works";
    let start = LogCursor::default();
    for (id, found) in [(job.id, true), (nothing, false)] {
        let events = jobs.events(tenant.id, id, 2, 10).await.expect(ok);
        assert_eq!(events, found.then(Vec::new));
        let logs = jobs.logs(tenant.id, id, start, 10).await.expect(ok);
        assert_eq!(logs, found.then(Vec::new));
        let tail = jobs.log_tail(tenant.id, id, 10).await.expect(ok);
        assert_eq!(tail, found.then(Vec::new));
        let attempts = jobs.attempts(tenant.id, id).await.expect(ok);
        assert_eq!(attempts, found.then(Vec::new));
        let artifacts = jobs.artifacts(tenant.id, id).await.expect(ok);
        assert_eq!(artifacts, found.then(Vec::new));
        let artifact = jobs.artifact(tenant.id, id, nowhere).await.expect(ok);
        assert_eq!(artifact, None);
        let checkpoint = jobs.latest_checkpoint(tenant.id, id).await.expect(ok);
        assert_eq!(checkpoint, None);
    }
}

pub async fn a_list_is_what_all_its_filters_let_through(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut first = make::new_session("Fix the Über-parser 100%_[x]*?");
    first.tags = vec!["parser".to_owned(), "it's".to_owned()];
    first.priority = Priority::High;
    let first = world.job(&tenant, first);
    let mut second = make::new_training("parse more");
    second.start = false;
    let second = world.job(&tenant, second);
    let mut third = make::new_session("unrelated");
    third.tags = vec!["parser2".to_owned()];
    let third = world.job(&tenant, third);
    world
        .submit(vec![first.clone(), second.clone(), third.clone()])
        .await;
    let lists = async |filter: JobFilter, expected: &[&Job]| {
        let found = world.store.jobs.list(tenant.id, filter.clone()).await;
        let found: Vec<String> = titles(&found.expect("the store works"));
        let expected: Vec<String> = expected.iter().map(|job| job.title.clone()).collect();
        assert_eq!(found, expected, "{filter:?}");
    };
    lists(all(), &[&third, &second, &first]).await;
    let kind = Some(JobKind::Session);
    lists(JobFilter { kind, ..all() }, &[&third, &first]).await;
    let states = vec![JobState::Pending, JobState::Failed, JobState::Pending];
    lists(JobFilter { states, ..all() }, &[&second]).await;
    let states = vec![JobState::Pending, JobState::Queued];
    lists(JobFilter { states, ..all() }, &[&third, &second, &first]).await;
    let priority = Some(Priority::High);
    lists(JobFilter { priority, ..all() }, &[&first]).await;
    for (tag, expected) in [
        ("parser", &[&first][..]),
        ("it's", &[&first]),
        ("pars", &[]),
    ] {
        let tag = Some(tag.to_owned());
        lists(JobFilter { tag, ..all() }, expected).await;
    }
    for (title, expected) in [
        ("PARSE", &[&second, &first][..]),
        ("üBER-p", &[&first]),
        ("100%_[X]*?", &[&first]),
        ("1%x", &[]),
        ("p*r", &[]),
        ("x_y", &[]),
    ] {
        let title = Some(title.to_owned());
        lists(JobFilter { title, ..all() }, expected).await;
    }
    let both = JobFilter {
        kind,
        title: Some("parse".to_owned()),
        ..all()
    };
    lists(both, &[&first]).await;
}

pub async fn pages_show_each_job_once(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        world.pass(Duration::from_millis(5));
        let jobs = world.sessions(&tenant, 3);
        expected.extend(jobs.iter().map(|job| job.id));
        world.submit(jobs).await;
    }
    expected.reverse();
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = JobFilter {
            before,
            limit: 4,
            ..all()
        };
        let page = world.store.jobs.list(tenant.id, page).await;
        let page = page.expect("the store works");
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.iter().map(|job| job.id));
        // What is new meanwhile does not move the pages.
        world.submit(world.sessions(&tenant, 1)).await;
    }
    assert_eq!(seen, expected);
}

pub async fn queues_show_depth_age_and_use(store: StoreUnderTest) {
    let world = World::new(store);
    let mut new = make::new_tenant("acme");
    new.quotas.session = 3;
    let tenant = world.tenant_of(new).await;
    let jobs = world.sessions(&tenant, 3);
    world.submit(jobs[..2].to_vec()).await;
    let worker = world.worker().await;
    world.run(worker, &jobs[0]).await;
    let oldest = world.now();
    world.pass(Duration::from_secs(10));
    world.submit(jobs[2..].to_vec()).await;
    let queues = world.store.jobs.queues(tenant.id).await;
    let queues = queues.expect("the store works");
    let [session, training] = &queues[..] else {
        panic!("one row a kind: {queues:?}");
    };
    assert_eq!(session.queue, jobs[0].queue());
    assert_eq!(session.tenant_slug, "acme");
    assert_eq!((session.depth, session.running), (2, 1));
    assert_eq!((session.quota, session.paused), (3, false));
    assert_eq!(session.oldest_queued_at, Some(oldest));
    assert_eq!(training.queue.kind, JobKind::Training);
    assert_eq!((training.depth, training.oldest_queued_at), (0, None));
    let other = world.tenant("other").await;
    let theirs = world.store.jobs.queues(other.id).await;
    assert!(
        theirs
            .expect("the store works")
            .iter()
            .all(|q| q.depth == 0)
    );
}

/// A job for later does not wait yet, however long ago it was submitted.
pub async fn the_oldest_of_a_queue_is_due(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let oldest = async || {
        let queues = world.store.jobs.queues(tenant.id).await;
        let queues = queues.expect("the store works");
        let [session, training] = &queues[..] else {
            panic!("one row a kind: {queues:?}");
        };
        assert_eq!(training.oldest_queued_at, None);
        (session.depth, session.oldest_queued_at)
    };
    let later = domain::NewJob {
        run_after: Some(world.now() + Duration::from_secs(20)),
        ..make::new_session("later")
    };
    let later = world.submitted(&tenant, later).await;
    assert_eq!(oldest().await, (1, None));
    world.pass(Duration::from_secs(1));
    let plain = world.submitted(&tenant, make::new_session("plain")).await;
    assert_eq!(oldest().await, (2, Some(world.now())));
    let worker = world.worker().await;
    world.run(worker, &plain).await;
    assert_eq!(oldest().await, (1, None));
    world.pass(Duration::from_secs(1));
    let labelled = domain::NewJob {
        requires: "gpu=h100".parse().expect("labels"),
        ..make::new_session("labelled")
    };
    let labelled = world.submitted(&tenant, labelled).await;
    assert_eq!(oldest().await, (2, labelled.queued_at));
    world.pass(Duration::from_secs(18));
    assert_eq!(world.promote(10).await.jobs, 1);
    assert_eq!(oldest().await, (2, later.queued_at));
}

pub async fn events_and_logs_go_on_where_a_reader_stopped(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let (worker, job) = world.running(&tenant, make::new_session("chatty")).await;
    let mut report = report_of(&job);
    report.logs = (1..=5)
        .map(|n| chunk(&world, &job, n, &format!("line {n}\n")))
        .collect();
    world.report(worker, report).await;
    let again = Ending::HandedBack;
    world.finish(worker, &job, again).await;
    let job = world.run(worker, &job).await;
    let mut report = report_of(&job);
    report.logs = vec![chunk(&world, &job, 1, "second run\n")];
    world.report(worker, report).await;
    let jobs = &world.store.jobs;
    let texts = async |after: (u32, u32), limit| {
        let (attempt, number) = after;
        let after = LogCursor { attempt, number };
        let logs = jobs.logs(tenant.id, job.id, after, limit).await;
        let logs = logs.expect("the store works").expect("the job is there");
        logs.into_iter().map(|log| log.text).collect::<Vec<_>>()
    };
    assert_eq!(texts((0, 0), 2).await, ["line 1\n", "line 2\n"]);
    let rest = ["line 4\n", "line 5\n", "second run\n"];
    assert_eq!(texts((1, 3), 100).await, rest);
    let tail = jobs.log_tail(tenant.id, job.id, 2).await;
    let tail = tail.expect("the store works").expect("the job is there");
    assert_eq!(tail[0].text, "line 5\n");
    assert_eq!(
        tail[1].cursor,
        LogCursor {
            attempt: 2,
            number: 1
        }
    );
    let events = jobs.events(tenant.id, job.id, 2, 2).await;
    let events = events.expect("the store works").expect("the job is there");
    let seen: Vec<_> = events.iter().map(|e| (e.seq, e.kind.as_str())).collect();
    assert_eq!(seen, [(3, "started"), (4, "handed_back")]);
}

fn all() -> JobFilter {
    JobFilter {
        limit: 100,
        ..JobFilter::default()
    }
}

fn titles(jobs: &[Job]) -> Vec<String> {
    jobs.iter().map(|job| job.title.clone()).collect()
}
