use super::*;

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
        by_lot: false,
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
fn a_preference_that_is_not_met_is_told() {
    let prefers = |agent: &str| RouteRequest {
        preferred_agent: Some(agent.to_owned()),
        ..asks("testing")
    };
    let both = [
        candidate(1, "able", 3, "testing"),
        candidate(2, "other", 3, "web"),
    ];
    let reason = |agent: &str| route(&prefers(agent), &both, ANYWHERE).reason();
    for (preferred, told) in [
        ("other", "; the preferred agent `other` cannot do testing"),
        ("othre", "; the preferred agent `othre` is not registered"),
    ] {
        let reason = reason(preferred);
        assert!(reason.starts_with("able scores "), "{reason}");
        assert!(
            reason.ends_with(&format!("; no other would do now{told}")),
            "{reason}"
        );
    }
    assert!(reason("able").ends_with("; no other would do now"));
    let by_id = reason(&id(2).to_string());
    assert!(by_id.ends_with("` cannot do testing"), "{by_id}");
    assert_eq!(
        route(&prefers("able"), &[], ANYWHERE).reason(),
        "no agent is registered; the preferred agent `able` is not registered"
    );
}
