//! Registered agents: whose they are, who sees them, who changes them, and what they say of themselves.

use std::time::Duration;

use domain::{
    AgentChange, AgentDefinition, AgentId, AgentSpec, AgentStatus, AgentWork, Beat, Candidate,
    ExternalAgent, Labels, RegisteredAgent, TenantId,
};

use super::{StoreUnderTest, World};
use crate::ports::{AgentError, Ids, KeyHash, TokenHasher};

const OK: &str = "the store works";
const TOKEN: &TokenHasher = &token_hash;

/// Of the agent and how often it has registered, as the port promises to ask for it.
fn token_hash(agent: AgentId, generation: u32) -> KeyHash {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(agent.as_uuid().as_bytes());
    hash[16..20].copy_from_slice(&generation.to_be_bytes());
    KeyHash(hash)
}

fn definition(name: &str) -> AgentDefinition {
    AgentDefinition {
        name: name.to_owned(),
        capabilities: ["testing", "language:rust"].map(str::to_owned).into(),
        tier: 3,
        capacity: 2,
        labels: "region=eu".parse().expect("labels"),
        cost_usd: Some(0.25),
        work: AgentWork::Worker(AgentSpec::Echo { delay_seconds: 7 }),
    }
}

fn external(name: &str, version: &str) -> AgentDefinition {
    AgentDefinition {
        labels: Labels::default(),
        work: AgentWork::External(ExternalAgent {
            endpoint_url: Some("https://agent.example/eap".to_owned()),
            version: version.to_owned(),
            agent_type: "tester".to_owned(),
            metadata: serde_json::Map::new(),
            generation: 0,
        }),
        ..definition(name)
    }
}

impl World {
    fn new_agent(&self, owner: Option<TenantId>, of: AgentDefinition) -> RegisteredAgent {
        let id = AgentId::from_uuid(self.ids.next(self.now()));
        RegisteredAgent::new(id, owner, of, self.now()).expect("it is right")
    }

    async fn registered(&self, owner: Option<TenantId>, of: AgentDefinition) -> RegisteredAgent {
        let agent = self.new_agent(owner, of);
        let stored = self.store.agents.register_agent(agent.clone(), None).await;
        assert_eq!(stored.expect(OK), agent);
        agent
    }

    async fn agent(&self, tenant: TenantId, id: AgentId) -> Option<RegisteredAgent> {
        let found = self.store.agents.agent(tenant, id).await.expect(OK);
        found.map(|candidate| candidate.agent)
    }
}

pub async fn an_agent_reads_back_as_it_was_registered(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await.id;
    let agent = world.registered(Some(tenant), definition("rusty")).await;
    let expected = Some(Candidate { agent, in_use: 0 });
    let agents = &world.store.agents;
    let id = expected.as_ref().expect("some").agent.id;
    assert_eq!(agents.agent(tenant, id).await.expect(OK), expected);
    assert_eq!(
        agents.agent_by_name(tenant, "rusty").await.expect(OK),
        expected
    );
    assert_eq!(agents.agent_by_name(tenant, "other").await.expect(OK), None);
    let nobody = AgentId::from_uuid(world.ids.next(world.now()));
    assert_eq!(agents.agent(tenant, nobody).await.expect(OK), None);
}

pub async fn an_agent_is_its_tenants_own_or_shared(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await.id;
    let other = world.tenant("other").await.id;
    let shared = world.registered(None, definition("rusty")).await;
    let own = world.registered(Some(tenant), definition("rusty")).await;
    let agents = &world.store.agents;
    let named = async |tenant| {
        let found = agents.agent_by_name(tenant, "rusty").await.expect(OK);
        found.expect("it is there").agent.id
    };
    assert_eq!(named(tenant).await, own.id, "one's own goes first");
    assert_eq!(named(other).await, shared.id);
    assert_eq!(world.agent(other, own.id).await, None);
    let drain = || AgentChange {
        draining: Some(true),
        ..AgentChange::default()
    };
    for (owner, id) in [
        (Some(other), own.id),
        (None, own.id),
        (Some(tenant), shared.id),
    ] {
        let changed = agents
            .change_agent(owner, id, drain(), None, world.now())
            .await;
        assert_eq!(changed.expect(OK), None, "not theirs");
        assert!(
            !agents.remove_agent(owner, id).await.expect(OK),
            "not theirs"
        );
    }
    assert!(agents.remove_agent(Some(tenant), own.id).await.expect(OK));
    assert!(!agents.remove_agent(Some(tenant), own.id).await.expect(OK));
    assert_eq!(named(tenant).await, shared.id);
}

pub async fn agents_are_listed_by_name(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await.id;
    let other = world.tenant("other").await.id;
    for (owner, name) in [
        (Some(tenant), "b"),
        (None, "b"),
        (Some(tenant), "B"),
        (None, "c"),
        (Some(other), "a"),
    ] {
        world.registered(owner, definition(name)).await;
    }
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = world.store.agents.agents(tenant, after, 2).await.expect(OK);
        let Some(last) = page.last() else {
            break;
        };
        after = Some((last.agent.definition.name.clone(), last.agent.id));
        seen.extend(
            page.into_iter()
                .map(|it| (it.agent.definition.name, it.agent.tenant)),
        );
    }
    let seen: Vec<_> = seen
        .iter()
        .map(|(name, owner)| (name.as_str(), *owner))
        .collect();
    let own = Some(tenant);
    assert_eq!(seen, [("B", own), ("b", own), ("b", None), ("c", None)]);
}

pub async fn an_agents_name_is_taken_once(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await.id;
    world.registered(Some(tenant), definition("rusty")).await;
    let agents = &world.store.agents;
    for (of, token) in [
        (definition("rusty"), None),
        (external("rusty", "1"), Some(TOKEN)),
    ] {
        let again = world.new_agent(Some(tenant), of);
        let refused = agents.register_agent(again, token).await;
        assert!(matches!(refused, Err(AgentError::NameTaken(name)) if name == "rusty"));
    }
    let other = world.tenant("other").await.id;
    world.registered(Some(other), definition("rusty")).await;
}

pub async fn an_external_agent_may_register_again(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await.id;
    let agents = &world.store.agents;
    let first = world.new_agent(Some(tenant), external("EXT", "1"));
    let stored = agents.register_agent(first.clone(), Some(TOKEN)).await;
    assert_eq!(stored.expect(OK), first);
    let judged = AgentChange {
        tier: Some(5),
        ..AgentChange::default()
    };
    let changed = agents
        .change_agent(Some(tenant), first.id, judged, None, world.now())
        .await;
    assert_eq!(changed.expect(OK).expect("it is there").definition.tier, 5);
    world.pass(Duration::from_secs(1));
    let second = world.new_agent(Some(tenant), external("EXT", "2"));
    let stored = agents.register_agent(second, Some(TOKEN)).await;
    let stored = stored.expect(OK);
    assert_eq!((stored.id, stored.version), (first.id, 3));
    assert_eq!((first.generation(), stored.generation()), (1, 2));
    assert_eq!(stored.definition.tier, 5, "others' judgement stays");
    assert!(matches!(&stored.definition.work, AgentWork::External(it) if it.version == "2"));
    assert_eq!(world.agent(tenant, first.id).await, Some(stored));
    let token = agents.agent_token(first.id).await.expect(OK);
    assert!(
        token == Some(token_hash(first.id, 2)),
        "the old one is worth nothing"
    );
    let worker = world.registered(Some(tenant), definition("rusty")).await;
    assert!(agents.agent_token(worker.id).await.expect(OK).is_none());
}

pub async fn an_agents_change_of_an_old_version_is_refused(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await.id;
    let agent = world.registered(Some(tenant), definition("rusty")).await;
    let now = world.pass(Duration::from_secs(1));
    let change = |capacity| AgentChange {
        capacity: Some(capacity),
        ..AgentChange::default()
    };
    let agents = &world.store.agents;
    let of = |capacity, expected| {
        agents.change_agent(Some(tenant), agent.id, change(capacity), expected, now)
    };
    let changed = of(9, Some(1)).await.expect(OK).expect("it is there");
    assert_eq!((changed.definition.capacity, changed.version), (9, 2));
    assert_eq!(changed.updated_at, now);
    assert!(matches!(
        of(8, Some(1)).await,
        Err(AgentError::VersionMoved(2))
    ));
    assert!(matches!(of(0, None).await, Err(AgentError::Invalid(_))));
    assert_eq!(world.agent(tenant, agent.id).await, Some(changed));
}

pub async fn agents_with_an_address_are_found_whosever_they_are(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await.id;
    let agents = &world.store.agents;
    world.registered(Some(tenant), definition("rusty")).await;
    let mut silent = external("SILENT", "1");
    if let AgentWork::External(external) = &mut silent.work {
        external.endpoint_url = None;
    }
    let mut expected = Vec::new();
    for (owner, of) in [
        (Some(tenant), external("OWN", "1")),
        (Some(tenant), silent),
        (None, external("SHARED", "1")),
        (Some(world.tenant("other").await.id), external("OTHER", "1")),
    ] {
        let agent = world.new_agent(owner, of);
        let stored = agents.register_agent(agent, Some(TOKEN)).await.expect(OK);
        if stored.definition.name != "SILENT" {
            expected.push(stored);
        }
    }
    expected.sort_by_key(|agent| agent.id);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = agents.agents_with_endpoint(after, 2).await.expect(OK);
        let Some(last) = page.last() else {
            break;
        };
        after = Some(last.id);
        found.extend(page);
    }
    assert_eq!(found, expected);
}

pub async fn a_heartbeat_is_kept_and_an_older_one_is_not(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await.id;
    let agents = &world.store.agents;
    let agent = world.new_agent(Some(tenant), external("EXT", "1"));
    let stored = agents.register_agent(agent.clone(), Some(TOKEN)).await;
    stored.expect(OK);
    let beat = |load: f64| Beat {
        at: world.now(),
        status: AgentStatus::Degraded,
        load,
        tasks_in_progress: 1,
        metrics: serde_json::Map::new(),
        probed: false,
    };
    let old = beat(0.5);
    world.pass(Duration::from_secs(1));
    let new = beat(0.75);
    for beat in [new.clone(), old] {
        assert!(agents.beat(agent.id, beat).await.expect(OK));
    }
    let found = world.agent(tenant, agent.id).await.expect("it is there");
    assert_eq!(found.condition.beat, Some(new.clone()));
    assert_eq!(found.version, 1, "it is no change by a person");
    assert!(agents.remove_agent(Some(tenant), agent.id).await.expect(OK));
    assert!(!agents.beat(agent.id, new).await.expect(OK), "it is gone");
}

pub async fn what_asks_and_reports_lives(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await.id;
    let agents = &world.store.agents;
    let agent = world.new_agent(Some(tenant), external("EXT", "1"));
    let stored = agents.register_agent(agent.clone(), Some(TOKEN)).await;
    stored.expect(OK);
    let beat_of = async || {
        let found = world.agent(tenant, agent.id).await.expect("it is there");
        found.condition.beat
    };
    let hear = async || {
        agents.heard(agent.id, world.now()).await.expect(OK);
        beat_of().await.expect("it was heard of")
    };
    assert_eq!(beat_of().await, None);
    let first = hear().await;
    assert_eq!(
        (first.status, first.at),
        (AgentStatus::Healthy, world.now())
    );
    world.pass(Duration::from_secs(1));
    assert_eq!(hear().await, first, "not written down each time");
    for (status, then) in [
        (AgentStatus::Busy, AgentStatus::Busy),
        (AgentStatus::Offline, AgentStatus::Healthy),
    ] {
        let said = Beat {
            at: world.now(),
            status,
            load: 0.75,
            tasks_in_progress: 3,
            metrics: serde_json::Map::new(),
            probed: false,
        };
        assert!(agents.beat(agent.id, said.clone()).await.expect(OK));
        world.pass(Duration::from_secs(20));
        let heard = hear().await;
        assert_eq!((heard.status, heard.at), (then, world.now()));
        let keeps = heard.tasks_in_progress == said.tasks_in_progress;
        assert_eq!(keeps, status != AgentStatus::Offline);
    }
    world.pass(Duration::from_secs(31));
    assert!(hear().await.is_fresh(world.now()), "it was stale");
    let gone = AgentId::from_uuid(world.ids.next(world.now()));
    agents.heard(gone, world.now()).await.expect(OK);
}
