use super::*;

#[test]
fn a_breaker_opens_is_probed_and_closes() {
    let mut breaker = Breaker::default();
    for failures in 1..BREAKER_FAILURES {
        breaker = breaker.failed(NOW);
        assert_eq!(breaker, Breaker::Closed { failures });
    }
    breaker = breaker.failed(NOW);
    let until = NOW + BREAKER_PAUSE;
    assert_eq!(breaker, Breaker::Open { until, opened: 1 });
    assert!(!breaker.admits(0, NOW) && breaker.admits(0, until));
    assert!(!breaker.admits(1, until), "others are under way still");
    let probed = breaker.taken();
    assert!(probed.admits(0, NOW) && !probed.admits(1, NOW));
    let later = until + Duration::from_secs(1);
    let again = probed.failed(later);
    assert_eq!(
        again,
        Breaker::Open {
            until: later + BREAKER_PAUSE * 2,
            opened: 2
        }
    );
    let long = Breaker::HalfOpen { opened: 40 }.failed(NOW);
    assert_eq!(
        long,
        Breaker::Open {
            until: NOW + BREAKER_PAUSE_MAX,
            opened: 41
        }
    );
    let condition = Condition {
        breaker: probed,
        ..Condition::default()
    };
    let nothing = condition.clone().after(Outcome::Nothing, NOW);
    assert_eq!(nothing, condition, "a task that was stopped says nothing");
    let mended = condition.after(succeeded(2.0, None), NOW);
    assert_eq!(mended.breaker, Breaker::Closed { failures: 0 });
    assert_eq!(mended.latency_seconds, Some(2.0));
}

const fn succeeded(seconds: f64, quality: Option<f64>) -> Outcome {
    Outcome::Succeeded { seconds, quality }
}

#[test]
fn quality_is_kept_of_what_was_rated() {
    let near = |condition: &Condition, expected: f64| {
        let quality = condition.quality.expect("it was rated");
        assert!((quality - expected).abs() < 1e-9, "{condition:?}");
    };
    let condition = Condition::default().after(succeeded(1.0, None), NOW);
    assert_eq!(condition.quality, None, "nobody said how good it was");
    let condition = condition.after(succeeded(1.0, Some(0.5)), NOW);
    near(&condition, 0.5);
    let condition = condition.after(succeeded(1.0, None), NOW);
    near(&condition, 0.5);
    let condition = condition.after(succeeded(1.0, Some(1.0)), NOW);
    near(&condition, 0.55);
    let before = (condition.success_rate, condition.tasks, condition.breaker);
    let condition = condition.after(Outcome::Rejected { quality: Some(0.0) }, NOW);
    near(&condition, 0.495);
    let after = (condition.success_rate, condition.tasks, condition.breaker);
    assert_eq!(before, after, "it did come to an end");
}

#[test]
fn outcomes_decay() {
    let mut condition = Condition::default();
    for _ in 0..7 {
        condition = condition.after(Outcome::Failed, NOW);
    }
    assert!(
        (condition.success_rate - 0.478).abs() < 0.001,
        "{condition:?}"
    );
    assert_eq!(condition.tasks, 7);
}

#[test]
fn an_agent_that_beats_by_itself_is_not_asked() {
    let due = |probed: bool, seconds: u64| {
        let beat = Beat {
            probed,
            ..beat(AgentStatus::Healthy, 0.0, seconds)
        };
        beat.is_due(NOW)
    };
    assert!(due(true, 10) && !due(true, 9));
    assert!(due(false, 15) && !due(false, 14));
}
