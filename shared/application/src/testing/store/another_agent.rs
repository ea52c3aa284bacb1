//! Who is left for a routed session that its agent failed for good.

use domain::{Job, Outcome, Timestamp};

use super::routed::{SUCCEEDED, again, done, wants};
use super::{StoreUnderTest, World};
use crate::use_cases::another_agent;

const OK: &str = "the store works";
/// What a worker has that runs the agents of these contracts.
const RUNS_ECHO: &str = "agent/echo=yes";

impl World {
    async fn has_another(&self, job: &Job, now: Timestamp) -> bool {
        let store = &self.store;
        let stores = (
            store.jobs.as_ref(),
            store.engine.as_ref(),
            store.agents.as_ref(),
        );
        another_agent(stores, job, now).await.expect(OK)
    }
}

pub async fn a_session_that_failed_for_good_is_tried_anew_only_with_another_agent(
    store: StoreUnderTest,
) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 9).await;
    let stranger = world.tenant("other").await;
    world.echo(Some(stranger.id), "theirs", 5, 9).await;
    let first = world.echo(Some(tenant.id), "first", 5, 1).await;
    let worker = world.worker_with(RUNS_ECHO.parse().expect("labels")).await;
    world.submitted(&tenant, wants("one", "testing")).await;
    let run = world.claim_routed(worker, 9).await.remove(0);
    assert!(!world.has_another(&run, world.now()).await, "it is alone");
    let agents = &world.store.agents;
    let tried = async |tenant| agents.agents_tried(tenant, run.id).await.expect(OK);
    assert_eq!(tried(tenant.id).await, [first], "it works on it");
    assert_eq!(tried(stranger.id).await, [], "no session of theirs");

    let second = world.echo(None, "second", 1, 1).await;
    assert!(world.has_another(&run, world.now()).await);
    // It is free again when that ends.
    let other = world.submitted(&tenant, wants("two", "testing")).await;
    let busy = world.claim_routed(worker, 9).await.remove(0);
    assert_eq!(world.agents_of(&other).await, [Some("second".to_owned())]);
    assert!(world.has_another(&run, world.now()).await);
    world.end(worker, &busy, done(), SUCCEEDED).await;

    world.end(worker, &run, again(), Outcome::Failed).await;
    let run = world.claim_routed(worker, 9).await.remove(0);
    let names = ["first", "second"].map(|name| Some(name.to_owned()));
    assert_eq!(world.agents_of(&run).await, names);
    let mut expected = [first, second];
    expected.sort();
    let mut tried = agents.agents_tried(tenant.id, run.id).await.expect(OK);
    tried.sort();
    assert_eq!(tried, expected);
    assert!(!world.has_another(&run, world.now()).await, "both had it");
}

pub async fn only_agents_that_a_live_worker_runs_are_others(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 9).await;
    world.echo(None, "first", 5, 1).await;
    world.echo(None, "second", 1, 1).await;
    let bare = world.worker().await;
    world.submitted(&tenant, wants("one", "testing")).await;
    let run = world.claim_routed(bare, 9).await.remove(0);
    assert!(
        !world.has_another(&run, world.now()).await,
        "nobody runs it"
    );
    world.worker_with(RUNS_ECHO.parse().expect("labels")).await;
    assert!(world.has_another(&run, world.now()).await);
    let later = world.pass(super::world::LEASE * 2);
    assert!(!world.has_another(&run, later).await, "it died");
}
