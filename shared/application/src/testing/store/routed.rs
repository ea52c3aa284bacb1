//! Sessions that are routed: claimed together with an agent that suits, within its capacity, and given back with their end.

use std::time::Duration;

use domain::{
    AgentDefinition, AgentId, AgentSpec, AgentWork, BREAKER_PAUSE, Breaker, Ending, Job, JobError,
    JobSpec, Labels, NewJob, Outcome, RegisteredAgent, RegisteredKind, RouteRequest, RoutedOffer,
    Tenant, TenantId, WorkerRef,
};

use super::{StoreUnderTest, World};
use crate::ports::Ids;
use crate::testing::make;

const OK: &str = "the store works";

pub(super) fn wants(title: &str, capability: &str) -> NewJob {
    let mut new = make::new_session(title);
    if let JobSpec::Session(session) = &mut new.spec {
        session.agent = AgentSpec::Routed(RouteRequest {
            capabilities: [capability.to_owned()].into(),
            ..RouteRequest::default()
        });
    }
    new
}

pub(super) fn offer(most: u32) -> RoutedOffer {
    RoutedOffer {
        kinds: vec![RegisteredKind::Echo],
        labels: Labels::default(),
        most,
        by_lot: false,
    }
}

impl World {
    /// An echo of this delay, by which it is known again in what is claimed.
    pub(super) async fn echo(
        &self,
        owner: Option<TenantId>,
        name: &str,
        tier: u8,
        capacity: u32,
    ) -> AgentId {
        let definition = AgentDefinition {
            name: name.to_owned(),
            capabilities: ["testing".to_owned()].into(),
            tier,
            capacity,
            labels: Labels::default(),
            cost_usd: None,
            work: AgentWork::Worker(AgentSpec::Echo {
                delay_seconds: tier.into(),
            }),
        };
        let id = AgentId::from_uuid(self.ids.next(self.now()));
        let agent = RegisteredAgent::new(id, owner, definition, self.now()).expect("it is right");
        self.store
            .agents
            .register_agent(agent, None)
            .await
            .expect(OK);
        id
    }

    pub(super) async fn claim_routed(&self, worker: WorkerRef, most: u32) -> Vec<Job> {
        let agents = &self.store.agents;
        let claimed = agents.claim_routed(worker, offer(most), self.now()).await;
        claimed.expect("the lease is valid").jobs
    }

    pub(super) async fn end(&self, worker: WorkerRef, job: &Job, ending: Ending, agent: Outcome) {
        let mut finish = self.finish_of(job, ending);
        finish.agent = agent;
        let finished = self.store.engine.finish(worker, vec![finish], self.now());
        assert_eq!(finished.await.expect(OK).fenced, []);
    }

    async fn use_of(&self, tenant: &Tenant, agent: AgentId) -> (u32, Breaker) {
        let found = self.store.agents.agent(tenant.id, agent).await.expect(OK);
        let found = found.expect("it is there");
        (found.in_use, found.agent.condition.breaker)
    }

    pub(super) async fn agents_of(&self, job: &Job) -> Vec<Option<String>> {
        let attempts = self
            .store
            .jobs
            .attempts(job.tenant, job.id)
            .await
            .expect(OK);
        let attempts = attempts.expect("the job is stored");
        attempts.into_iter().map(|attempt| attempt.agent).collect()
    }
}

pub(super) fn done() -> Ending {
    Ending::Completed(make::session_result("done"))
}

pub(super) fn again() -> Ending {
    Ending::Retry {
        error: JobError::new("AGENT_BROKE", "it broke"),
        after: Some(Duration::ZERO),
    }
}

pub(super) const SUCCEEDED: Outcome = Outcome::Succeeded {
    seconds: 1.0,
    quality: None,
};

fn titles(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.title.as_str()).collect()
}

pub async fn a_routed_session_is_claimed_with_the_best_agent(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 9).await;
    let other = world.tenant("other").await;
    world.echo(Some(other.id), "theirs", 5, 1).await;
    let low = world.echo(None, "low", 1, 1).await;
    let high = world.echo(Some(tenant.id), "high", 4, 1).await;
    let job = world.submitted(&tenant, wants("one", "testing")).await;
    world.submitted(&tenant, wants("none can", "vision")).await;
    let worker = world.worker().await;
    // A wake-up finds nothing: there are none for such sessions.
    assert_eq!(titles(&world.claim(worker, &[&job]).await.jobs), [""; 0]);
    let claimed = world.claim_routed(worker, 9).await;
    assert_eq!(titles(&claimed), ["one"]);
    let spec = JobSpec::Session(domain::SessionSpec {
        agent: AgentSpec::Echo { delay_seconds: 4 },
        ..session_of(&job)
    });
    assert_eq!(claimed[0].spec, spec, "as its agent runs it");
    assert_eq!(
        world.get(&job).await.spec,
        job.spec,
        "stored as it was asked for"
    );
    assert_eq!(world.events(&job).await, ["created", "queued", "started"]);
    assert_eq!(world.agents_of(&job).await, [Some("high".to_owned())]);
    assert_eq!(world.use_of(&tenant, high).await.0, 1);
    assert_eq!(world.use_of(&tenant, low).await.0, 0);
    world.counts_are_right(&tenant).await;
    world.end(worker, &claimed[0], done(), SUCCEEDED).await;
    assert_eq!(world.use_of(&tenant, high).await.0, 0);
    world.no_drift().await;
}

fn session_of(job: &Job) -> domain::SessionSpec {
    match &job.spec {
        JobSpec::Session(session) => session.clone(),
        JobSpec::Training(_) => panic!("{} is no session", job.title),
    }
}

/// It waited for its queue or its agent while the session came to it.
pub async fn a_late_routed_claim_starts_no_session_before_what_happened_last(
    store: StoreUnderTest,
) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 9).await;
    world.echo(None, "echo", 3, 1).await;
    let worker = world.worker().await;
    let asked = world.now();
    world.pass(Duration::from_secs(3));
    let job = world.submitted(&tenant, wants("one", "testing")).await;
    let agents = &world.store.agents;
    let claimed = agents.claim_routed(worker, offer(9), asked).await;
    let [started] = &claimed.expect("the lease is valid").jobs[..] else {
        panic!("one session waits");
    };
    assert_eq!(started.started_at, Some(world.now()));
    let history = world.store.jobs.events(job.tenant, job.id, 0, 10).await;
    let history = history.expect(OK).expect("it is there");
    let times: Vec<_> = history.iter().map(|event| event.at).collect();
    assert_eq!(times, [world.now(); 3]);
    let attempts = world.store.jobs.attempts(job.tenant, job.id).await;
    let attempts = attempts.expect(OK).expect("it ran");
    assert_eq!(attempts[0].started_at, world.now());
}

pub async fn an_agent_gets_no_more_than_its_capacity(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 100).await;
    let agent = world.echo(None, "one-at-a-time", 3, 1).await;
    let jobs = (0..20)
        .map(|n| world.job(&tenant, wants(&format!("{n}"), "testing")))
        .collect();
    world.submit(jobs).await;
    let workers = [
        world.worker().await,
        world.worker().await,
        world.worker().await,
    ];
    for round in 0..20 {
        let claims = workers.map(|worker| world.claim_routed(worker, 50));
        let [a, b, c] = claims;
        let (a, b, c) = tokio::join!(a, b, c);
        let got: Vec<(WorkerRef, Job)> = [a, b, c]
            .into_iter()
            .zip(workers)
            .flat_map(|(jobs, worker)| jobs.into_iter().map(move |job| (worker, job)))
            .collect();
        assert_eq!(got.len(), 1, "round {round}");
        let (worker, job) = &got[0];
        assert_eq!(job.title, round.to_string(), "in the order of their turns");
        assert_eq!(world.use_of(&tenant, agent).await.0, 1);
        world.end(*worker, job, done(), SUCCEEDED).await;
    }
    assert!(world.claim_routed(workers[0], 50).await.is_empty());
    world.no_drift().await;
}

pub async fn routed_sessions_keep_to_quotas_and_pauses(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 2).await;
    world.echo(None, "wide", 3, 50).await;
    let jobs = (0..5)
        .map(|n| world.job(&tenant, wants(&format!("{n}"), "testing")))
        .collect();
    world.submit(jobs).await;
    let worker = world.worker().await;
    assert_eq!(
        world.claim_routed(worker, 1).await.len(),
        1,
        "no more than it has room for"
    );
    assert_eq!(
        world.claim_routed(worker, 9).await.len(),
        1,
        "no more than the quota"
    );
    assert!(world.claim_routed(worker, 9).await.is_empty());
    world.counts_are_right(&tenant).await;
}

/// More tenants than one look goes through wait for what no agent has, and all of them have fewer runs.
pub async fn tenants_who_wait_in_vain_hide_no_other(store: StoreUnderTest) {
    const MANY: usize = 70;
    let world = World::new(store);
    for number in 0..MANY {
        let tenant = world.tenant(&format!("vain-{number}")).await;
        world.submitted(&tenant, wants("none can", "vision")).await;
    }
    let tenant = world.tenant_with_quota("busy", 9).await;
    world.echo(None, "tester", 3, 9).await;
    world.submitted(&tenant, wants("first", "testing")).await;
    let worker = world.worker().await;
    let by_lot = RoutedOffer {
        by_lot: true,
        ..offer(9)
    };
    let looks = async || {
        for _ in 0..1000 {
            let agents = &world.store.agents;
            let claimed = agents.claim_routed(worker, by_lot.clone(), world.now());
            let jobs = claimed.await.expect("the lease is valid").jobs;
            if !jobs.is_empty() {
                return jobs;
            }
        }
        Vec::new()
    };
    assert_eq!(titles(&looks().await), ["first"]);
    // It has a run now, and would come last by that.
    world.submitted(&tenant, wants("second", "testing")).await;
    assert_eq!(titles(&world.claim_routed(worker, 9).await), [""; 0]);
    assert_eq!(titles(&looks().await), ["second"]);
}

pub async fn a_session_fails_over_and_the_breaker_opens(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 9).await;
    let broken = world.echo(None, "broken", 5, 9).await;
    world.echo(None, "sound", 1, 9).await;
    let worker = world.worker().await;
    for n in 0..3 {
        let job = world
            .submitted(&tenant, wants(&format!("{n}"), "testing"))
            .await;
        let first = world.claim_routed(worker, 9).await;
        world.end(worker, &first[0], again(), Outcome::Failed).await;
        let second = world.claim_routed(worker, 9).await;
        world.end(worker, &second[0], done(), SUCCEEDED).await;
        let agents = ["broken", "sound"].map(|name| Some(name.to_owned()));
        assert_eq!(world.agents_of(&job).await, agents);
    }
    let open = world.use_of(&tenant, broken).await.1;
    assert!(matches!(open, Breaker::Open { opened: 1, .. }), "{open:?}");
    world.submitted(&tenant, wants("spared", "testing")).await;
    let spared = world.claim_routed(worker, 9).await;
    assert_eq!(
        world.agents_of(&spared[0]).await,
        [Some("sound".to_owned())]
    );
    // After a while one task shows whether it works again.
    world.pass(BREAKER_PAUSE);
    let worker = world.worker().await;
    for title in ["probe", "meanwhile"] {
        world.submitted(&tenant, wants(title, "testing")).await;
    }
    let claimed = world.claim_routed(worker, 9).await;
    assert_eq!(titles(&claimed), ["probe", "meanwhile"]);
    let probe = &claimed[0];
    assert_eq!(world.agents_of(probe).await, [Some("broken".to_owned())]);
    assert_eq!(
        world.agents_of(&claimed[1]).await,
        [Some("sound".to_owned())]
    );
    assert_eq!(
        world.use_of(&tenant, broken).await.1,
        Breaker::HalfOpen { opened: 1 }
    );
    world.end(worker, probe, done(), SUCCEEDED).await;
    assert_eq!(
        world.use_of(&tenant, broken).await.1,
        Breaker::Closed { failures: 0 }
    );
}

pub async fn an_agents_quality_is_kept_of_what_was_rated(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 9).await;
    let agent = world.echo(None, "rated", 3, 9).await;
    let worker = world.worker().await;
    let rated = |quality| Outcome::Succeeded {
        seconds: 1.0,
        quality,
    };
    let outcomes = [
        (SUCCEEDED, None),
        (rated(Some(0.5)), Some(0.5)),
        (SUCCEEDED, Some(0.5)),
        (Outcome::Nothing, Some(0.5)),
        (Outcome::Rejected { quality: Some(0.0) }, Some(0.45)),
        (Outcome::Failed, Some(0.45)),
        (rated(Some(1.0)), Some(0.505)),
    ];
    for (index, (outcome, expected)) in outcomes.into_iter().enumerate() {
        let title = index.to_string();
        world.submitted(&tenant, wants(&title, "testing")).await;
        let claimed = world.claim_routed(worker, 9).await;
        world.end(worker, &claimed[0], done(), outcome).await;
        let found = world.store.agents.agent(tenant.id, agent).await.expect(OK);
        let quality = found.expect("it is there").agent.condition.quality;
        let rounded = quality.map(|it| (it * 1e9).round() / 1e9);
        assert_eq!(rounded, expected, "after {outcome:?}");
    }
    world.no_drift().await;
}

pub async fn a_dead_workers_agent_is_free_again(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 9).await;
    let agent = world.echo(None, "lonely", 3, 1).await;
    let job = world.submitted(&tenant, wants("one", "testing")).await;
    let worker = world.worker().await;
    assert_eq!(world.claim_routed(worker, 9).await.len(), 1);
    let later = world.pass(Duration::from_hours(1));
    let reaped = world
        .store
        .engine
        .reap(Duration::ZERO, 10, later)
        .await
        .expect(OK);
    assert_eq!(reaped.jobs.len(), 1);
    assert_eq!(world.use_of(&tenant, agent).await, (0, Breaker::default()));
    let gone = world
        .store
        .agents
        .claim_routed(worker, offer(9), world.now())
        .await;
    assert!(gone.is_err(), "its lease is lost");
    let other = world.worker().await;
    assert_eq!(world.claim_routed(other, 9).await[0].id, job.id);
}
