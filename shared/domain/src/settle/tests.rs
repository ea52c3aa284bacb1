use serde_json::Map;
use uuid::Uuid;

use super::*;
use crate::{
    AgentSpec, Claim, JobId, JobSpec, NewJob, Priority, SessionResult, SessionSpec, Status,
    TenantId, WorkerId,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn running(failures: u32) -> Job {
    let spec = SessionSpec {
        prompt: String::new(),
        agent: AgentSpec::ECHO,
        repository: None,
        keep: Vec::new(),
        demands: Box::default(),
    };
    let new = NewJob {
        title: "a job".to_owned(),
        priority: Priority::Medium,
        tags: Vec::new(),
        metadata: Map::new(),
        spec: JobSpec::Session(spec),
        max_duration_seconds: 60,
        max_attempts: 3,
        run_after: None,
        deadline: None,
        requires: crate::Labels::default(),
        depends_on: Vec::new(),
        if_prerequisite_fails: crate::DependencyRule::Fail,
        start: true,
        parent: None,
    };
    let id = Uuid::from_u128(7);
    let job = new
        .into_job(JobId::from_uuid(id), TenantId::from_uuid(id), NOW)
        .unwrap();
    let claim = Claim {
        worker: WorkerId::from_uuid(id),
        epoch: 1,
    };
    Job {
        status: Status::Running(claim),
        attempt: failures + 1,
        failures,
        ..job
    }
}

fn transient() -> Ending {
    Ending::Retry {
        error: JobError::new("COMMAND_TRY_AGAIN", "exit code 75"),
        after: None,
    }
}

fn yielded() -> Ending {
    Ending::Yielded {
        wait: Duration::from_secs(2),
        why: "an older run holds it".to_owned(),
    }
}

fn settled(job: &Job, ending: Ending) -> Settlement {
    settle(job, ending, NOW, 0.5).unwrap()
}

#[test]
fn a_transient_failure_waits_and_the_last_one_fails_for_good() {
    let second = settled(&running(1), transient());
    assert_eq!((second.state, second.failures), (JobState::Queued, 2));
    assert_eq!(second.run_after, Some(NOW + Duration::from_secs(1)));
    let last = settled(&running(2), transient());
    assert_eq!((last.state, last.failures), (JobState::Failed, 3));
    assert_eq!(last.run_after, None);
    assert!(last.error.is_some());
}

#[test]
fn a_lost_lease_counts_and_a_drained_worker_does_not() {
    let lost = settled(&running(0), Ending::LeaseLost);
    assert_eq!((lost.state, lost.failures), (JobState::Queued, 1));
    assert_eq!(lost.run_after, None);
    assert_eq!(
        settled(&running(2), Ending::LeaseLost).state,
        JobState::Failed
    );
    let drained = settled(&running(2), Ending::HandedBack);
    assert_eq!((drained.state, drained.failures), (JobState::Queued, 2));
}

#[test]
fn a_run_that_gave_way_says_why_and_comes_back() {
    let gave_way = settled(&running(2), yielded());
    assert_eq!((gave_way.state, gave_way.failures), (JobState::Queued, 2));
    assert_eq!(gave_way.run_after, Some(NOW + Duration::from_secs(2)));
    let data = gave_way.event_data();
    assert_eq!(data["reason"], "an older run holds it");
}

#[test]
fn a_stop_wins_over_every_way_back_into_the_queue() {
    let asked = Job {
        stop_requested_at: Some(NOW),
        ..running(0)
    };
    for ending in [
        transient(),
        Ending::LeaseLost,
        Ending::HandedBack,
        yielded(),
    ] {
        let settlement = settled(&asked, ending.clone());
        assert_eq!(settlement.state, JobState::Stopped, "{ending:?}");
        let late = settled(&running(0), ending).unless_asked(true, true);
        assert_eq!(
            late,
            Settlement {
                failures: late.failures,
                ..settlement
            }
        );
    }
    let done = Ending::Completed(JobResult::Session(SessionResult::default()));
    assert_eq!(
        settled(&asked, done).unless_asked(true, true).state,
        JobState::Completed
    );
}

#[test]
fn rejected_work_fails_for_good_and_is_kept() {
    let result = JobResult::Session(SessionResult::default());
    let error = JobError::new("VERIFY_FAILED", "exit code 1");
    let rejected = settled(
        &running(0),
        Ending::Rejected {
            error: error.clone(),
            result: result.clone(),
        },
    );
    assert_eq!((rejected.state, rejected.failures), (JobState::Failed, 1));
    assert_eq!(
        (rejected.error, rejected.result),
        (Some(error), Some(result))
    );
}

#[test]
fn a_pause_wins_over_the_queue_and_a_stop_over_a_pause() {
    let asked = Job {
        pause_requested_at: Some(NOW),
        ..running(0)
    };
    for ending in [transient(), Ending::LeaseLost, Ending::HandedBack] {
        let settlement = settled(&asked, ending);
        assert_eq!(settlement.state, JobState::Paused);
        assert_eq!(settlement.run_after, None);
    }
    // The last run that may fail, fails.
    let last = Job {
        failures: 2,
        ..asked.clone()
    };
    assert_eq!(settled(&last, transient()).state, JobState::Failed);
    let over = JobError::new("BUDGET_EXCEEDED", "10 tokens");
    let paused = settled(
        &running(1),
        Ending::OverBudget {
            stop: false,
            error: over.clone(),
            result: None,
        },
    );
    assert_eq!((paused.failures, paused.error.as_ref()), (1, Some(&over)));
    let stopped = paused.unless_asked(true, true);
    assert_eq!(
        (stopped.state, stopped.event),
        (JobState::Stopped, EventKind::Stopped)
    );
}

#[test]
fn only_a_running_job_can_be_settled() {
    for status in [Status::Queued, Status::Completed, Status::Cancelled] {
        let job = Job {
            status,
            ..running(0)
        };
        assert!(
            settle(&job, Ending::LeaseLost, NOW, 0.5).is_err(),
            "{}",
            job.state()
        );
    }
}
