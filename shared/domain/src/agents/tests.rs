use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::{
    AgentId, AgentSpec, Eap, JobId, JobKind, Labels, QueueKey, TenantId, Timestamp, Violations,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn id(n: u128) -> AgentId {
    AgentId::from_uuid(Uuid::from_u128(n))
}

/// `caps` by spaces; a worker's agent of capacity 4.
fn candidate(n: u128, name: &str, tier: u8, caps: &str) -> Candidate {
    let definition = AgentDefinition {
        name: name.to_owned(),
        capabilities: caps.split_whitespace().map(str::to_owned).collect(),
        tier,
        capacity: 4,
        labels: Labels::default(),
        cost_usd: None,
        work: AgentWork::Worker(AgentSpec::ECHO),
    };
    Candidate {
        agent: RegisteredAgent::new(id(n), None, definition, NOW).unwrap(),
        in_use: 0,
    }
}

fn external(n: u128, name: &str, beat: Option<Beat>) -> Candidate {
    let mut candidate = candidate(n, name, 3, "testing");
    candidate.agent.definition.work = AgentWork::External(ExternalAgent {
        endpoint_url: None,
        version: "1".to_owned(),
        agent_type: "test".to_owned(),
        metadata: serde_json::Map::new(),
        generation: 1,
    });
    candidate.agent.condition.beat = beat;
    candidate
}

fn beat(status: AgentStatus, load: f64, seconds_ago: u64) -> Beat {
    Beat {
        at: NOW - Duration::from_secs(seconds_ago),
        status,
        load,
        tasks_in_progress: 0,
        metrics: serde_json::Map::new(),
        probed: false,
    }
}

fn asks(caps: &str) -> RouteRequest {
    RouteRequest {
        capabilities: caps.split_whitespace().map(str::to_owned).collect(),
        ..RouteRequest::default()
    }
}

const ANYWHERE: RouteContext<'static> = RouteContext {
    kinds: None,
    failed: &[],
    now: NOW,
};

fn chosen(routing: &Routing) -> Option<&str> {
    routing.choice.as_ref().map(|choice| choice.name.as_str())
}

fn refused(request: &RouteRequest, candidate: Candidate) -> Refusal {
    let routing = route(request, &[candidate], ANYWHERE);
    assert_eq!(routing.choice, None);
    routing.rejected[0].why.clone()
}

#[test]
fn the_score_is_what_the_documentation_says() {
    // What differs from an idle agent of tier 3 that can do just what is asked for, and the score.
    type Change = fn(&mut Candidate, &mut RouteRequest);
    let table: [(&str, Change, f64); 11] = [
        ("plain", |_, _| {}, 0.24 + 0.3 + 0.2 + 0.1),
        (
            "tier 5",
            |c, _| c.agent.definition.tier = 5,
            0.4 + 0.3 + 0.2 + 0.1,
        ),
        (
            "tier 1",
            |c, _| c.agent.definition.tier = 1,
            0.08 + 0.3 + 0.2 + 0.1,
        ),
        (
            "half of what it can do",
            |c, _| c.agent.definition.capabilities.extend(["web".to_owned()]),
            0.24 + 0.15 + 0.2 + 0.1,
        ),
        (
            "nothing asked for",
            |_, r| r.capabilities.clear(),
            0.24 + 0.3 + 0.2 + 0.1,
        ),
        (
            "three of four slots",
            |c, _| c.in_use = 3,
            0.24 + 0.3 + 0.05 + 0.1,
        ),
        (
            "a success rate of a half",
            |c, _| c.agent.condition.success_rate = 0.5,
            0.24 + 0.3 + 0.2 + 0.05,
        ),
        (
            "about to be probed",
            |c, _| c.agent.condition.breaker = Breaker::HalfOpen { opened: 1 },
            0.24 + 0.3 + 0.2 + 0.05,
        ),
        (
            "of the preferred kind",
            |_, r| r.preferred_kind = Some(RegisteredKind::Echo),
            0.84 + 0.2,
        ),
        (
            "preferred by name",
            |_, r| r.preferred_agent = Some("a".to_owned()),
            0.84 + 0.3,
        ),
        (
            "preferred by id, and of the preferred kind",
            |c, r| {
                r.preferred_agent = Some(c.agent.id.to_string());
                r.preferred_kind = Some(RegisteredKind::Echo);
            },
            0.84 + 0.5,
        ),
    ];
    for (what, change, expected) in table {
        let (mut candidate, mut request) = (candidate(1, "a", 3, "testing"), asks("testing"));
        change(&mut candidate, &mut request);
        let routing = route(&request, &[candidate], ANYWHERE);
        let score = routing.choice.expect(what).score;
        assert!(
            (score - expected).abs() < 1e-9,
            "{what}: {score}, not {expected}"
        );
    }
}

#[test]
fn a_reported_load_counts_where_it_is_more_than_the_slots() {
    for (in_use, load, expected) in [(0, 0.5, 0.5), (3, 0.5, 0.25), (0, 1.0, 0.0)] {
        let mut candidate = external(1, "a", Some(beat(AgentStatus::Degraded, load, 0)));
        candidate.in_use = in_use;
        let parts = route(&asks("testing"), &[candidate], ANYWHERE)
            .choice
            .unwrap()
            .parts;
        assert!((parts.load - expected).abs() < 1e-9, "{parts:?}");
        assert!(
            (parts.availability - 0.5).abs() < 1e-9,
            "degraded: {parts:?}"
        );
    }
}

#[test]
fn the_best_is_chosen_and_three_others_are_named() {
    let candidates: Vec<Candidate> = (1..=5)
        .map(|n| candidate(n.into(), &format!("tier{n}"), n, "testing"))
        .collect();
    let routing = route(&asks("testing"), &candidates, ANYWHERE);
    assert_eq!(chosen(&routing), Some("tier5"));
    let names: Vec<&str> = routing
        .alternatives
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(names, ["tier4", "tier3", "tier2"]);
    assert_eq!(
        routing.reason(),
        "tier5 scores 1.000; the next best is tier4 with 0.920"
    );
}

#[test]
fn of_equals_the_cheaper_one_then_the_older_one_is_chosen() {
    let (first, mut second) = (candidate(1, "first", 3, ""), candidate(2, "second", 3, ""));
    let both = [second.clone(), first.clone()];
    assert_eq!(chosen(&route(&asks(""), &both, ANYWHERE)), Some("first"));
    second.agent.definition.cost_usd = Some(0.5);
    let both = [first, second];
    assert_eq!(chosen(&route(&asks(""), &both, ANYWHERE)), Some("second"));
}

#[test]
fn what_a_session_hands_over_stands_over_what_its_agent_is_registered_with() {
    let data = |text: &str| serde_json::from_str(text).unwrap();
    let request = RouteRequest {
        files: vec!["a".to_owned(), "b".to_owned()],
        task_type: Some("review".to_owned()),
        input_data: data(r#"{"depth": 2}"#),
        ..asks("testing")
    };
    let given = external(1, "a", None).agent.spec().handed(&request);
    let AgentSpec::External(given) = given else {
        panic!("{given:?}");
    };
    let told = given.to_eap();
    assert_eq!(told.task_type(), "review");
    assert_eq!(
        (&told.files, &told.input_data),
        (&request.files, &request.input_data)
    );

    let registered = AgentSpec::Eap(Eap {
        name: "a".to_owned(),
        task_type: Some("coding".to_owned()),
        files: vec!["b".to_owned(), "c".to_owned()],
        input_data: data(r#"{"depth": 1, "tone": "kind"}"#),
    });
    assert_eq!(registered.clone().handed(&asks("testing")), registered);
    let AgentSpec::Eap(told) = registered.handed(&request) else {
        panic!("another kind");
    };
    assert_eq!(told.task_type(), "review");
    assert_eq!(told.files, ["b", "c", "a"]);
    assert_eq!(told.input_data, data(r#"{"depth": 2, "tone": "kind"}"#));
    assert_eq!(AgentSpec::ECHO.handed(&request), AgentSpec::ECHO);
}

#[test]
fn what_is_handed_over_is_bounded_and_decides_nothing() {
    let mut violations = Violations::default();
    let much = "x".repeat(16 * 1024);
    let request = RouteRequest {
        files: vec!["../a".to_owned()],
        task_type: Some(String::new()),
        input_data: [("a".to_owned(), much.into())].into_iter().collect(),
        ..asks("testing")
    };
    request.check(&mut violations);
    let wrong: Vec<&str> = violations.0.iter().map(|it| it.pointer.as_str()).collect();
    assert_eq!(wrong, ["/task_type", "/files/0", "/input_data"]);
    assert_eq!(request.wish(), asks("testing").wish());
}

#[test]
fn every_reason_against_an_agent_is_named() {
    let request = RouteRequest {
        min_tier: 3,
        labels: "region=eu".parse().unwrap(),
        ..asks("testing web")
    };
    let mut able = candidate(1, "a", 3, "testing web");
    able.agent.definition.labels = "region=eu,gpu=h100".parse().unwrap();
    assert_eq!(
        chosen(&route(&request, &[able.clone()], ANYWHERE)),
        Some("a")
    );
    let with = |change: fn(&mut Candidate)| {
        let mut candidate = able.clone();
        change(&mut candidate);
        refused(&request, candidate)
    };
    assert_eq!(
        with(|c| c.agent.definition.capabilities.retain(|it| it != "web")),
        Refusal::MissingCapabilities(vec!["web".to_owned()])
    );
    assert_eq!(
        with(|c| c.agent.definition.tier = 2),
        Refusal::TierTooLow { tier: 2, least: 3 }
    );
    assert!(matches!(
        with(|c| c.agent.definition.labels = Labels::default()),
        Refusal::MissingLabels(_)
    ));
    assert_eq!(with(|c| c.agent.draining = true), Refusal::Draining);
    assert_eq!(with(|c| c.in_use = 4), Refusal::Full { capacity: 4 });
    let until = NOW + Duration::from_secs(1);
    let open = |c: &mut Candidate| {
        let until = NOW + Duration::from_secs(1);
        c.agent.condition.breaker = Breaker::Open { until, opened: 1 };
    };
    assert_eq!(with(open), Refusal::BreakerOpen { until });
    assert_eq!(
        with(|c| {
            c.agent.condition.breaker = Breaker::HalfOpen { opened: 1 };
            c.in_use = 1;
        }),
        Refusal::Probed
    );
    let kinds = [RegisteredKind::Command];
    let context = RouteContext {
        kinds: Some(&kinds),
        ..ANYWHERE
    };
    let routing = route(&request, &[able], context);
    assert_eq!(
        routing.rejected[0].why,
        Refusal::KindNotRun(RegisteredKind::Echo)
    );
}

#[test]
fn an_external_agent_must_be_heard_of() {
    let request = asks("testing");
    let since = NOW - Duration::from_secs(31);
    for (beat, expected) in [
        (None, Refusal::NeverBeat),
        (
            Some(beat(AgentStatus::Healthy, 0.0, 31)),
            Refusal::Stale { since },
        ),
        (Some(beat(AgentStatus::Busy, 0.0, 0)), Refusal::Busy),
        (Some(beat(AgentStatus::Offline, 0.0, 0)), Refusal::Offline),
    ] {
        assert_eq!(refused(&request, external(1, "a", beat)), expected);
    }
    let heard = external(1, "a", Some(beat(AgentStatus::Healthy, 0.0, 30)));
    assert_eq!(chosen(&route(&request, &[heard], ANYWHERE)), Some("a"));
}

#[test]
fn one_that_failed_at_the_task_gets_it_only_if_nobody_else_would() {
    let both = [candidate(1, "best", 5, ""), candidate(2, "other", 1, "")];
    let failed = [id(1)];
    let context = RouteContext {
        failed: &failed,
        ..ANYWHERE
    };
    let routing = route(&asks(""), &both, context);
    assert_eq!(chosen(&routing), Some("other"));
    assert_eq!(routing.rejected[0].why, Refusal::FailedThisTask);
    assert_eq!(chosen(&route(&asks(""), &both[..1], context)), Some("best"));
    let [best, mut other] = both;
    other.in_use = other.agent.definition.capacity;
    let routing = route(&asks(""), &[best.clone(), other.clone()], context);
    assert_eq!(chosen(&routing), None, "the other is free soon");
    assert_eq!(routing.rejected[1].why, Refusal::FailedThisTask);
    other.agent.draining = true;
    assert_eq!(
        chosen(&route(&asks(""), &[best, other], context)),
        Some("best"),
        "the other takes nothing more"
    );
}

#[test]
fn a_task_that_waits_for_another_agent_keeps_nobody_from_the_one_it_failed_at() {
    let mut busy = candidate(2, "busy", 3, "");
    busy.in_use = busy.agent.definition.capacity;
    let queue = QueueKey {
        tenant: TenantId::from_uuid(Uuid::from_u128(9)),
        kind: JobKind::Session,
    };
    let task = |job: u128, failed: &[AgentId]| WaitingTask {
        job: JobId::from_uuid(Uuid::from_u128(job)),
        queue,
        request: asks(""),
        requires: Labels::default(),
        failed: failed.to_vec(),
        holder: None,
    };
    let tasks = [task(1, &[id(1)]), task(2, &[])];
    let offer = RoutedOffer {
        kinds: vec![RegisteredKind::Echo],
        labels: Labels::default(),
        most: 9,
    };
    let free = [(queue, 9)].into();
    let given = assign(
        &tasks,
        vec![candidate(1, "free", 3, ""), busy],
        free,
        &offer,
        NOW,
    );
    let given: Vec<_> = given.iter().map(|it| (it.job, it.agent)).collect();
    assert_eq!(given, [(tasks[1].job, id(1))]);
}

#[test]
fn nobody_is_told_by_those_who_would_do() {
    let mut full = candidate(1, "full", 3, "testing");
    full.in_use = 4;
    let routing = route(
        &asks("testing"),
        &[full, candidate(2, "other", 3, "web")],
        ANYWHERE,
    );
    assert_eq!(
        routing.reason(),
        "no agent that suits is free: full works on as many tasks as it takes, 4"
    );
    let routing = route(
        &asks("testing"),
        &[candidate(2, "other", 3, "web")],
        ANYWHERE,
    );
    assert_eq!(routing.reason(), "no agent suits: other cannot do testing");
    assert_eq!(
        route(&asks(""), &[], ANYWHERE).reason(),
        "no agent is registered"
    );
}

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
fn what_a_registration_may_not_say_is_refused() {
    let good = candidate(1, "good-1.x", 3, "testing language:rust")
        .agent
        .definition;
    let wrong: [fn(&mut AgentDefinition); 7] = [
        |d| d.name = String::new(),
        |d| d.name = "a b".to_owned(),
        |d| d.tier = 0,
        |d| d.tier = 6,
        |d| d.capacity = 0,
        |d| d.capabilities.extend(["Testing".to_owned()]),
        |d| d.cost_usd = Some(f64::NAN),
    ];
    for (index, change) in wrong.into_iter().enumerate() {
        let mut definition = good.clone();
        change(&mut definition);
        let refused = RegisteredAgent::new(id(1), None, definition, NOW);
        assert!(refused.is_err(), "{index}");
    }
    let agent = RegisteredAgent::new(id(1), None, good, NOW).unwrap();
    let change = AgentChange {
        tier: Some(4),
        draining: Some(true),
        ..AgentChange::default()
    };
    let changed = agent.change(change, NOW).unwrap();
    assert_eq!(
        (changed.definition.tier, changed.draining, changed.version),
        (4, true, 2)
    );
}

#[test]
fn each_registration_of_an_external_agent_is_counted() {
    let said = external(1, "a", None).agent.definition;
    let first = RegisteredAgent::new(id(1), None, said.clone(), NOW).unwrap();
    assert_eq!(first.generation(), 1, "whatever it says itself");
    let second = first.registered_again(said.clone(), NOW).unwrap();
    let third = second.registered_again(said, NOW).unwrap();
    assert_eq!(third.generation(), 3);
    assert_eq!(candidate(2, "b", 3, "").agent.generation(), 0);
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
