//! Stories of registered agents that are called at the address that they registered: which token they get, who is not
//! called at all, and whose task is not waited for. The registry is a real one, the agents are played.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test does"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use adapter_agents::{ExternalAgent, ExternalSetup};
use adapter_sqlite::SqliteStore;
use application::agent_tokens::AgentTokens;
use application::outbound::OutboundPolicy;
use application::ports::{Agent as _, AgentReport, AgentStore as _, Clock as _, HandlerError};
use application::testing::ManualClock;
use common::played::{Played, Reply};
use common::{Run, environment, error_of, eventually};
use domain::{
    AgentDefinition, AgentId, AgentStatus, AgentWork, Beat, HEARTBEAT_INTERVAL, Labels,
    RegisteredAgent,
};
use serde_json::{Map, json};
use uuid::Uuid;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A registry, and a run that is given to an agent of it.
struct World {
    store: SqliteStore,
    clock: Arc<ManualClock>,
    tokens: AgentTokens,
    run: Run,
    agent: AgentId,
    _folder: tempfile::TempDir,
}

impl World {
    /// With an agent at `url`, registered once.
    async fn with(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        let store = SqliteStore::open(&file).await.unwrap();
        store.migrate().await.unwrap();
        let mut world = Self {
            store,
            clock: Arc::new(ManualClock::default()),
            tokens: AgentTokens::new(SECRET).unwrap(),
            run: Run::shell("true"),
            agent: AgentId::from_uuid(Uuid::from_u128(1)),
            _folder: folder,
        };
        world.run.task.agent = world.registers(url).await.spec();
        world
    }

    async fn registers(&self, url: &str) -> RegisteredAgent {
        let definition = AgentDefinition {
            name: "PLAYED".to_owned(),
            capabilities: ["testing".to_owned()].into(),
            tier: 3,
            capacity: 1,
            labels: Labels::default(),
            cost_usd: None,
            work: AgentWork::External(domain::ExternalAgent {
                endpoint_url: Some(url.to_owned()),
                version: "1".to_owned(),
                agent_type: "played".to_owned(),
                metadata: Map::new(),
                generation: 0,
            }),
        };
        let agent = RegisteredAgent::new(self.agent, None, definition, self.clock.now()).unwrap();
        let tokens = self.tokens.clone();
        let hasher = move |agent, generation| tokens.hash(agent, generation);
        let stored = self.store.register_agent(agent, Some(&hasher)).await;
        stored.unwrap()
    }

    async fn beats(&self) {
        let beat = Beat {
            at: self.clock.now(),
            status: AgentStatus::Healthy,
            load: 0.0,
            tasks_in_progress: 0,
            metrics: Map::new(),
            probed: false,
        };
        assert!(self.store.beat(self.agent, beat).await.unwrap());
    }

    fn setup(&self) -> ExternalSetup {
        ExternalSetup {
            agents: Arc::new(self.store.clone()),
            tasks: Arc::new(self.store.clone()),
            clock: self.clock.clone(),
            tokens: Some(self.tokens.clone()),
            outbound: OutboundPolicy {
                allowed: vec!["127.0.0.1".parse().unwrap()],
            },
        }
    }

    async fn runs(&self) -> Result<AgentReport, HandlerError> {
        self.runs_with(self.setup()).await
    }

    async fn runs_with(&self, setup: ExternalSetup) -> Result<AgentReport, HandlerError> {
        let agent = ExternalAgent::new(setup, &environment(&[], &[], &[]));
        agent
            .run(self.run.task.clone(), self.run.context.clone())
            .await
    }

    fn token(&self, generation: u32) -> String {
        self.tokens.token(self.agent, generation)
    }
}

/// Completed, whichever task it is.
fn completed(call: &str) -> Reply {
    let (head, body) = call.split_once("\r\n\r\n").unwrap();
    let asked = head.split(' ').nth(1).unwrap();
    let id = asked.strip_prefix("/task/").map(str::to_owned);
    let id = id.unwrap_or_else(|| {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        body["task_id"].as_str().unwrap().to_owned()
    });
    let result = json!({"task_id": id, "status": "completed"});
    (200, "", result.to_string())
}

fn has_token(call: &str, token: &str) -> bool {
    call.contains(&format!("x-agent-token: {token}\r\n"))
}

#[tokio::test]
async fn an_agent_is_called_with_the_token_of_its_latest_registration() {
    let played = Played::start(|_, call| completed(call)).await;
    let world = World::with(&played.url).await;
    world.runs().await.unwrap();
    world.registers(&played.url).await;
    world.runs().await.unwrap();
    let calls = played.calls.lock().unwrap();
    assert!(has_token(&calls[0], &world.token(1)), "{}", calls[0]);
    assert!(has_token(&calls[1], &world.token(2)), "{}", calls[1]);
}

#[tokio::test]
async fn a_worker_with_another_secret_calls_nobody() {
    let played = Played::start(|_, call| completed(call)).await;
    let world = World::with(&played.url).await;
    let other = AgentTokens::new(&SECRET.replace('0', "1")).unwrap();
    let setup = ExternalSetup {
        tokens: Some(other),
        ..world.setup()
    };
    let error = world.runs_with(setup).await;
    assert!(matches!(error, Err(HandlerError::Retry(_))), "{error:?}");
    assert_eq!(error_of(error).code, "EAP_TOKEN");
    let setup = ExternalSetup {
        tokens: None,
        ..world.setup()
    };
    let error = world.runs_with(setup).await;
    assert!(matches!(&error, Err(HandlerError::Elsewhere(why)) if why.contains("AGENT_SECRET")));
    assert!(played.methods().is_empty());
}

#[tokio::test]
async fn an_agent_in_the_workers_own_network_is_not_called() {
    let played = Played::start(|_, call| completed(call)).await;
    let named = played.url.replace("127.0.0.1", "localhost");
    for url in [&played.url, &named] {
        let world = World::with(url).await;
        let setup = ExternalSetup {
            outbound: OutboundPolicy::default(),
            ..world.setup()
        };
        let error = error_of(world.runs_with(setup).await);
        assert_eq!(error.code, "EAP_ADDRESS");
        assert!(error.message.contains("PLAYED"), "{error}");
    }
    assert!(played.methods().is_empty());
}

#[tokio::test]
async fn an_agent_that_has_gone_is_not_called() {
    let played = Played::start(|_, call| completed(call)).await;
    let world = World::with(&played.url).await;
    assert!(world.store.remove_agent(None, world.agent).await.unwrap());
    assert_eq!(error_of(world.runs().await).code, "EAP_UNKNOWN_AGENT");
    assert!(played.methods().is_empty());
}

#[tokio::test]
async fn a_new_token_may_be_on_its_way_to_the_agent() {
    let played = Played::start(|number, call| match number {
        1 => (401, "", String::new()),
        _ => completed(call),
    })
    .await;
    let world = World::with(&played.url).await;
    world.runs().await.unwrap();
    assert_eq!(played.methods(), ["POST", "POST"]);
    // Later it is no excuse.
    let refusing = Played::start(|_, _| (401, "", String::new())).await;
    let world = World::with(&refusing.url).await;
    world.clock.advance(Duration::from_secs(11));
    let error = error_of(world.runs().await);
    assert_eq!(error.code, "EAP_UNAUTHORIZED");
    assert!(error.message.contains("registers again"), "{error}");
    assert_eq!(refusing.methods(), ["POST"]);
}

#[tokio::test]
async fn a_task_moves_with_an_agent_that_registers_again() {
    let old = Played::start(|_, _| (202, "", String::new())).await;
    let new = Played::start(|_, call| completed(call)).await;
    let world = World::with(&old.url).await;
    let moving = async {
        let asked = || (!old.methods().is_empty()).then_some(());
        eventually("the agent is asked", asked).await;
        world.registers(&new.url).await;
    };
    let (report, ()) = tokio::join!(world.runs(), moving);
    report.unwrap();
    let calls = new.calls.lock().unwrap();
    assert!(calls[0].starts_with("POST /task "), "{}", calls[0]);
    assert!(has_token(&calls[0], &world.token(2)), "{}", calls[0]);
}

#[tokio::test]
async fn a_silent_agents_task_is_not_waited_for() {
    let played = Played::start(|_, _| (202, "", String::new())).await;
    let world = World::with(&played.url).await;
    world.beats().await;
    let falling_silent = async {
        let asked = || (!played.methods().is_empty()).then_some(());
        eventually("the agent is asked", asked).await;
        world
            .clock
            .advance(HEARTBEAT_INTERVAL * 3 + Duration::from_secs(1));
    };
    let (error, ()) = tokio::join!(world.runs(), falling_silent);
    assert!(matches!(error, Err(HandlerError::Retry(_))), "{error:?}");
    let error = error_of(error);
    assert_eq!(error.code, "EAP_SILENT");
    assert!(error.message.contains("PLAYED"), "{error}");
    let calls = played.methods();
    assert_eq!(calls.last().map(String::as_str), Some("DELETE"));
}
