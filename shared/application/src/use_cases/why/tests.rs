use std::time::Duration;

use domain::{JobError, Progress, QueueKey, SlotSnapshot, Status, WorkerId};
use uuid::Uuid;

use super::*;
use crate::testing::make;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn waiting() -> Waiting {
    let id = Uuid::from_u128(1);
    let tenant = TenantId::from_uuid(id);
    let job = make::job(make::new_session("one"), JobId::from_uuid(id), tenant, NOW);
    Waiting {
        slots: SlotSnapshot {
            queue: QueueKey {
                tenant,
                kind: JobKind::Session,
            },
            version: 1,
            weight: 1,
            quota: 2,
            running: 2,
            queued: 5,
            due: 5,
            published: 5,
            paused: false,
            service_seconds: 10.0,
        },
        job,
        tenant_active: true,
        queue_paused: false,
        all_queues_paused: false,
        draining: false,
        month_used_up_until: None,
        ahead: 3,
        holders: Vec::new(),
        prerequisites: Vec::new(),
        workers: 1,
        free_worker_slots: 8,
        recent_seconds: vec![8.0, 12.0],
    }
}

/// Nothing keeps it.
fn free() -> Waiting {
    let mut free = waiting();
    (free.slots.running, free.ahead) = (0, 0);
    free
}

fn told(waiting: Waiting) -> Why {
    explain(waiting, false, NOW)
}

/// A run that began so long ago.
fn holder(age: u64) -> Holder {
    let id = Uuid::from_u128(age.into());
    Holder {
        job: JobId::from_uuid(id),
        title: "runs".to_owned(),
        worker: WorkerId::from_uuid(id),
        started_at: NOW - Duration::from_secs(age),
    }
}

fn seconds(waiting: Waiting) -> Option<f64> {
    told(waiting).estimate.map(|estimate| estimate.seconds)
}

#[test]
fn a_full_quota_and_those_before_it_are_named_with_an_estimate() {
    let why = told(waiting());
    let expected = [
        Reason::QuotaFull {
            running: 2,
            quota: 2,
        },
        Reason::Turn { ahead: 3 },
    ];
    assert_eq!(why.reasons, expected);
    assert_eq!(why.position, Some(4));
    // Four runs must end, two go at once, ten seconds each.
    let expected = Estimate {
        seconds: 20.0,
        runs: 2,
    };
    assert_eq!(why.estimate, Some(expected));
}

#[test]
fn what_runs_have_done_already_is_not_waited_for() {
    let of = |ahead, quota, holders: &[Holder]| {
        let mut waiting = waiting();
        (waiting.ahead, waiting.slots.quota) = (ahead, quota);
        waiting.holders = holders.to_vec();
        seconds(waiting)
    };
    let runs = [holder(9), holder(4)];
    assert_eq!(of(0, 2, &runs), Some(1.0));
    assert_eq!(of(1, 2, &runs), Some(6.0));
    assert_eq!(
        of(2, 2, &runs),
        Some(11.0),
        "the first that ended is followed by another"
    );
    // One that takes longer than others did may end at any time.
    assert_eq!(of(0, 2, &[holder(60), holder(4)]), Some(0.0));
    assert_eq!(
        of(0, 1, &runs),
        Some(6.0),
        "the first that ends makes no room"
    );
    assert_eq!(of(0, 3, &runs), None, "nothing keeps it");
}

#[test]
fn one_run_that_slept_does_not_stand_for_all() {
    let mut one = waiting();
    one.ahead = 0;
    one.recent_seconds = vec![20.0, 21.0, 12_500.0, 19.0, 20.0];
    assert_eq!(seconds(one), Some(20.0));
    let mut none = waiting();
    none.recent_seconds.clear();
    assert_eq!(seconds(none), None);
}

#[test]
fn what_time_does_not_cure_has_no_estimate() {
    let paused = Waiting {
        queue_paused: true,
        ..waiting()
    };
    let why = told(paused);
    assert_eq!(why.reasons[0], Reason::QueuePaused(JobKind::Session));
    assert_eq!(why.estimate, None);
    let alone = Waiting {
        workers: 0,
        free_worker_slots: 0,
        ..waiting()
    };
    assert!(matches!(told(alone).reasons[0], Reason::NoWorker { .. }));
}

#[test]
fn a_broker_that_is_away_is_named_and_nobody_guesses_when_it_is_back() {
    let why = explain(free(), true, NOW);
    assert_eq!(why.reasons, [Reason::BrokerAway]);
    assert_eq!(explain(waiting(), true, NOW).estimate, None);
    assert_eq!(why.estimate, None);
}

#[tokio::test]
async fn a_broker_that_refuses_or_says_nothing_is_away() {
    assert!(!is_away(async { Ok(()) }).await);
    assert!(is_away(async { Err(QueueError("refused".to_owned())) }).await);
    assert!(is_away(std::future::pending()).await);
}

#[test]
fn a_paused_tenant_is_not_taken_for_a_paused_queue() {
    let paused = Waiting {
        queue_paused: true,
        all_queues_paused: true,
        ..free()
    };
    assert_eq!(told(paused).reasons, [Reason::TenantPaused]);
}

#[test]
fn a_month_that_is_used_up_is_named_with_its_end() {
    let until = NOW + Duration::from_hours(24);
    let used_up = Waiting {
        month_used_up_until: Some(until),
        ..waiting()
    };
    let why = told(used_up);
    assert_eq!(why.reasons[0], Reason::TenantBudget(until));
    assert_eq!(why.estimate, None, "no end of a run helps");
}

#[test]
fn a_job_that_is_not_due_has_no_position() {
    let mut later = waiting();
    later.job.run_after = Some(NOW + Duration::from_mins(1));
    let why = told(later);
    assert!(matches!(why.reasons[0], Reason::NotBefore(_)));
    let turn = |reason: &Reason| matches!(reason, Reason::Turn { .. });
    assert!(!why.reasons.iter().any(turn), "{:?}", why.reasons);
    assert_eq!((why.position, why.estimate), (None, None));
}

#[test]
fn a_wait_before_a_retry_says_what_failed() {
    let until = NOW + Duration::from_mins(1);
    let mut again = free();
    again.job.run_after = Some(until);
    (again.job.failures, again.job.max_attempts) = (2, 4);
    again.job.error = Some(JobError::new("COMMAND_TRY_AGAIN", "exit code 75"));
    let mut asked_for = again.clone();
    asked_for.job.failures = 0;
    let expected = Reason::Backoff {
        until,
        retry: 2,
        retries: 3,
        code: "COMMAND_TRY_AGAIN".to_owned(),
    };
    assert_eq!(told(again).reasons, [expected]);
    assert_eq!(told(asked_for).reasons, [Reason::NotBefore(until)]);
}

#[test]
fn everything_that_keeps_a_pending_job_is_listed() {
    let mut pending = free();
    let prerequisite = JobId::from_uuid(Uuid::from_u128(9));
    let until = NOW + Duration::from_mins(1);
    pending.job.status = Status::Pending;
    pending.job.depends_on = vec![prerequisite];
    pending.job.run_after = Some(until);
    pending.prerequisites = vec![(prerequisite, JobState::Running)];
    pending.tenant_active = false;
    pending.queue_paused = true;
    (pending.workers, pending.free_worker_slots) = (0, 0);
    let mut not_started = pending.clone();
    let outer = [
        Reason::NotBefore(until),
        Reason::TenantInactive,
        Reason::QueuePaused(JobKind::Session),
        Reason::NoWorker {
            kind: JobKind::Session,
            requires: Labels::default(),
        },
    ];
    let first = Reason::Prerequisites(pending.prerequisites.clone());
    assert_eq!(
        told(pending.clone()).reasons,
        [&[first], &outer[..]].concat()
    );
    not_started.job.depends_on.clear();
    not_started.prerequisites.clear();
    let mut paused = not_started.clone();
    let first = Reason::NotStarted;
    assert_eq!(told(not_started).reasons, [&[first], &outer[..]].concat());
    paused.job.status = Status::Paused;
    assert_eq!(
        told(paused.clone()).reasons,
        [&[Reason::Paused], &outer[..]].concat()
    );
    paused.job.error = Some(JobError::new(BUDGET_EXCEEDED, "9 of 9 tokens"));
    let first = Reason::OverBudget("9 of 9 tokens".to_owned());
    assert_eq!(told(paused).reasons, [&[first], &outer[..]].concat());
}

#[test]
fn a_run_that_waits_for_a_lock_says_so() {
    let lock = AwaitedLock {
        resource: "branch:app@refs/heads/main".to_owned(),
        ahead: 1,
        holder: None,
        attempt: 2,
    };
    let mut runs = free();
    runs.job.status = Status::Running(domain::Claim {
        worker: WorkerId::from_uuid(Uuid::from_u128(1)),
        epoch: 1,
    });
    runs.job.attempt = 2;
    runs.job.progress = Some(Progress::waiting_for(&lock));
    let why = told(runs.clone());
    assert_eq!(why.reasons, [Reason::Lock(lock)]);
    assert_eq!((why.position, why.estimate), (None, None));
    runs.job.attempt = 3;
    assert_eq!(told(runs).reasons, []);
}

#[test]
fn a_job_that_works_or_is_over_waits_for_nothing() {
    let mut over = waiting();
    over.job.status = Status::Completed;
    assert_eq!(told(over).reasons, []);
    assert_eq!(told(free()).reasons, [Reason::AboutToBegin]);
    assert_eq!(told(free()).estimate, None);
}
