use super::*;

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
