use super::*;

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
