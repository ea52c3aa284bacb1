use uuid::Uuid;

use super::words::MESSAGES_MAX;
use super::*;
use crate::Progress;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn lease(n: u128) -> TaskLeaseId {
    TaskLeaseId::from_uuid(Uuid::from_u128(n))
}

fn offered() -> PulledTask {
    PulledTask {
        key: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
        tenant: TenantId::from_uuid(Uuid::nil()),
        agent: AgentId::from_uuid(Uuid::nil()),
        fence: 1,
        attempt: 1,
        stage: TaskStage::Offered,
        words: TaskWords::default(),
        offered_at: NOW,
    }
}

fn leased() -> PulledTask {
    offered().leased(lease(1), NOW).unwrap().0
}

fn says(message: &str) -> TaskReport {
    TaskReport {
        progress: Some(Progress {
            message: Some(message.to_owned()),
            ..Progress::default()
        }),
        usage: None,
    }
}

#[test]
fn a_task_is_named_by_its_session_and_its_round() {
    let job = "00000000-0000-0000-0000-000000000001";
    for text in [job.to_owned(), format!("{job}-3")] {
        assert_eq!(text.parse::<TaskKey>().unwrap().to_string(), text);
    }
    for text in ["", "x", "-1", &format!("{job}-x"), &format!("{job}-1-2")] {
        assert!(text.parse::<TaskKey>().is_err(), "{text}");
    }
}

#[test]
fn a_report_renews_and_one_that_comes_too_late_is_refused() {
    let just = NOW + TASK_LEASE - Duration::from_secs(1);
    let (task, renewed) = leased().reported(lease(1), says("a"), true, just).unwrap();
    assert_eq!(renewed.until, just + TASK_LEASE);
    let late = renewed.until;
    let refused = task.clone().reported(lease(1), says("b"), true, late);
    assert_eq!(refused.unwrap_err(), TaskRefusal::LeaseLost);
    let refused = task.clone().done(lease(1), true, late);
    assert_eq!(refused.unwrap_err(), TaskRefusal::LeaseLost);
    let other = task.reported(lease(2), says("b"), true, just);
    assert_eq!(other.unwrap_err(), TaskRefusal::LeaseLost);
}

#[test]
fn what_nobody_wants_is_said() {
    let refused = leased().reported(lease(1), says("a"), false, NOW);
    assert_eq!(refused.unwrap_err(), TaskRefusal::Cancelled);
    let withdrawn = leased().withdrawn(Withdrawal::Cancelled).unwrap();
    let refused = withdrawn.done(lease(1), true, NOW);
    assert_eq!(refused.unwrap_err(), TaskRefusal::Cancelled);
    let lost = leased().withdrawn(Withdrawal::Lost).unwrap();
    assert_eq!(
        lost.done(lease(1), true, NOW).unwrap_err(),
        TaskRefusal::LeaseLost
    );
}

#[test]
fn a_result_may_come_twice_and_is_not_taken_back() {
    let done = leased().done(lease(1), true, NOW).unwrap().unwrap();
    let late = NOW + TASK_LEASE * 2;
    assert_eq!(done.clone().done(lease(1), false, late), Ok(None));
    assert_eq!(
        done.clone().done(lease(2), true, NOW),
        Err(TaskRefusal::LeaseLost)
    );
    assert_eq!(done.withdrawn(Withdrawal::Cancelled), None);
}

#[test]
fn a_further_run_joins_what_its_agent_works_on() {
    let (joined, joins) = leased().wanted_again(2, 2, true, NOW);
    assert!(joins && joined.stage == leased().stage && joined.fence == 2);
    let done = leased().done(lease(1), true, NOW).unwrap().unwrap();
    assert!(done.clone().wanted_again(2, 2, true, NOW).1);
    for (task, unbroken, now) in [
        (offered(), true, NOW),
        (leased(), true, NOW + TASK_LEASE),
        (leased(), false, NOW),
        (done, false, NOW),
    ] {
        let (anew, joins) = task.wanted_again(2, 2, unbroken, now);
        assert!(!joins && anew.stage == TaskStage::Offered && anew.fence == 2);
    }
}

#[test]
fn messages_are_told_once_and_the_oldest_are_forgotten() {
    let mut words = TaskWords::default();
    for message in ["a", "a", "b"] {
        words.add(says(message));
    }
    words.add(TaskReport::default());
    assert_eq!(words.messages_after(0), ["a", "b"]);
    assert_eq!(words.messages_after(1), ["b"]);
    assert!(words.messages_after(2).is_empty());
    for n in 0..MESSAGES_MAX {
        words.add(says(&n.to_string()));
    }
    assert_eq!(words.messages_after(0).len(), MESSAGES_MAX);
    assert_eq!(words.messages_after(0)[0], "0");
}
