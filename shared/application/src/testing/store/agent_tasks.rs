//! Tasks that external agents ask for: offered by a run, had by one agent under one lease, joined by the run after a lost
//! one, and refused to whoever lost them.

use std::time::Duration;

use domain::{
    Action, AgentDefinition, AgentId, AgentSpec, AgentStatus, AgentWork, Beat, Ending,
    ExternalAgent, Job, JobError, JobSpec, Labels, NewJob, Outcome, Progress, RegisteredAgent,
    RegisteredKind, RouteRequest, RoutedOffer, TASK_LEASE, TaskKey, TaskLease, TaskLeaseId,
    TaskRefusal, TaskReport, TaskStage, Tenant, Usage, Withdrawal, WorkerRef,
};
use serde_json::Map;

use super::{StoreUnderTest, World};
use crate::ports::{
    Ids, KeyHash, LeasedTask, Offered, TASKS_KEPT, TaskError, TaskHolder, TaskOffer, TaskView,
    TaskWatch,
};
use crate::testing::make;

const OK: &str = "the store works";
/// Ten seconds before the end of a worker's lease: the agent's, which is as long, lasts too.
const WORKER_LEFT: Duration = Duration::from_secs(20);
const BODY: &str = r#"{"task_id": "t", "odd": "\u0000 ü"}"#;
const RESULT: &str = r#"{"status": "completed", "odd": "\u0000 ü"}"#;

fn routed(title: &str) -> NewJob {
    let mut new = make::new_session(title);
    if let JobSpec::Session(session) = &mut new.spec {
        session.agent = AgentSpec::Routed(RouteRequest::default());
    }
    new
}

impl World {
    /// An external agent that asks for its tasks, of capacity 1, and is heard of now.
    async fn puller(&self, name: &str) -> AgentId {
        let definition = AgentDefinition {
            name: name.to_owned(),
            capabilities: ["testing".to_owned()].into(),
            tier: 3,
            capacity: 1,
            labels: Labels::default(),
            cost_usd: None,
            work: AgentWork::External(ExternalAgent {
                endpoint_url: None,
                version: "1".to_owned(),
                agent_type: "tester".to_owned(),
                metadata: Map::new(),
                generation: 0,
            }),
        };
        let id = AgentId::from_uuid(self.ids.next(self.now()));
        let agent = RegisteredAgent::new(id, None, definition, self.now()).expect("it is right");
        let agents = &self.store.agents;
        let token = |_, _| KeyHash([1; 32]);
        let stored = agents.register_agent(agent, Some(&token)).await;
        stored.expect(OK);
        self.beats(id, AgentStatus::Healthy).await;
        id
    }

    async fn beats(&self, agent: AgentId, status: AgentStatus) {
        let beat = Beat {
            at: self.now(),
            status,
            load: 0.0,
            tasks_in_progress: 0,
            metrics: Map::new(),
            probed: false,
        };
        assert!(self.store.agents.beat(agent, beat).await.expect(OK));
    }

    /// Sessions that are claimed with their agents.
    async fn claim_pulled(&self, worker: WorkerRef) -> Vec<Job> {
        let offer = RoutedOffer {
            kinds: vec![RegisteredKind::External],
            labels: Labels::default(),
            most: 9,
            by_lot: false,
        };
        let agents = &self.store.agents;
        let claimed = agents.claim_routed(worker, offer, self.now()).await;
        claimed.expect("the lease is valid").jobs
    }

    /// A session that runs, with its agent.
    async fn run_pulled(&self, tenant: &Tenant, title: &str) -> (Job, TaskWatch) {
        self.submitted(tenant, routed(title)).await;
        let worker = self.worker().await;
        let job = self.claim_pulled(worker).await.remove(0);
        let watch = watch(&job);
        (job, watch)
    }

    async fn offer_of(&self, job: &Job) -> Offered {
        let offer = TaskOffer {
            watch: watch(job),
            attempt: job.attempt,
            body: BODY.to_owned(),
        };
        let tasks = &self.store.agent_tasks;
        tasks.offer_task(offer, self.now()).await.expect(OK)
    }

    async fn lease_of(&self, agent: AgentId) -> Option<LeasedTask> {
        let id = TaskLeaseId::from_uuid(self.ids.next(self.now()));
        let tasks = &self.store.agent_tasks;
        tasks.lease_task(agent, id, self.now()).await.expect(OK)
    }

    async fn view(&self, watch: TaskWatch) -> Option<TaskView> {
        self.store.agent_tasks.watch_task(watch).await.expect(OK)
    }

    async fn says(&self, by: TaskHolder, message: &str) -> Result<TaskLease, TaskError> {
        let report = TaskReport {
            progress: Some(Progress {
                message: Some(message.to_owned()),
                ..Progress::default()
            }),
            usage: Some(Usage {
                input_tokens: 1,
                output_tokens: 2,
                cost: 0.5,
            }),
        };
        self.store
            .agent_tasks
            .report_task(by, report, self.now())
            .await
    }

    async fn hands_over(&self, by: TaskHolder, result: &str) -> Result<(), TaskError> {
        let tasks = &self.store.agent_tasks;
        tasks.end_task(by, result.to_owned(), self.now()).await
    }

    /// The worker's lease ends, and its runs are given up; the agents are still heard of.
    async fn worker_dies(&self, agents: &[AgentId]) {
        let later = self.pass(WORKER_LEFT);
        for agent in agents {
            self.beats(*agent, AgentStatus::Busy).await;
        }
        let end = later + Duration::from_secs(11);
        let reaped = self.store.engine.reap(Duration::ZERO, 10, end).await;
        assert_eq!(reaped.expect(OK).jobs.len(), 1);
    }
}

fn watch(job: &Job) -> TaskWatch {
    let JobSpec::Session(session) = &job.spec else {
        panic!("{} is no session", job.title)
    };
    let AgentSpec::External(agent) = &session.agent else {
        panic!("{} was given no external agent", job.title)
    };
    TaskWatch {
        tenant: job.tenant,
        key: TaskKey {
            job: job.id,
            round: 0,
        },
        agent: agent.agent,
        fence: job.fence,
    }
}

fn by(watch: TaskWatch, leased: &LeasedTask) -> TaskHolder {
    TaskHolder {
        agent: watch.agent,
        key: watch.key,
        lease: leased.lease.id,
    }
}

fn refused<T>(answer: &Result<T, TaskError>) -> Option<TaskRefusal> {
    match answer {
        Err(TaskError::Refused(refusal)) => Some(*refusal),
        _ => None,
    }
}

fn is_unknown<T>(answer: &Result<T, TaskError>) -> bool {
    matches!(answer, Err(TaskError::Unknown))
}

pub async fn a_task_is_asked_for_reported_and_ended(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let agent = world.puller("one").await;
    let (job, watch) = world.run_pulled(&tenant, "one").await;
    assert_eq!(watch.agent, agent);
    assert_eq!(world.lease_of(agent).await, None, "nothing is offered yet");
    assert_eq!(world.offer_of(&job).await, Offered::Anew);
    let view = world.view(watch).await.expect("it is there");
    assert_eq!(
        (view.stage, view.result, view.offered_at),
        (TaskStage::Offered, None, world.now())
    );
    let leased = world.lease_of(agent).await.expect("a task");
    assert_eq!(leased.body, BODY);
    assert_eq!(leased.lease.until, world.now() + TASK_LEASE);
    assert_eq!(world.lease_of(agent).await, None, "it is had once");
    world.pass(Duration::from_secs(20));
    let holder = by(watch, &leased);
    let renewed = world.says(holder, "half").await.expect("the lease holds");
    assert_eq!(renewed.until, world.now() + TASK_LEASE);
    let view = world.view(watch).await.expect("it is there");
    assert_eq!(view.stage, TaskStage::Leased(renewed));
    assert_eq!(view.words.messages, ["half"]);
    assert_eq!(view.words.usage.map(|it| it.cost), Some(0.5));
    world.hands_over(holder, RESULT).await.expect("it is ours");
    let again = world.hands_over(holder, "{}").await;
    again.expect("the same lease may repeat itself");
    let view = world.view(watch).await.expect("it is there");
    assert_eq!(view.stage, TaskStage::Done(leased.lease.id));
    assert_eq!(view.result.as_deref(), Some(RESULT), "the first one counts");
    let tasks = &world.store.agent_tasks;
    let kept = tasks.withdraw_task(watch, Withdrawal::Lost, world.now());
    assert_eq!(kept.await.expect(OK).as_ref(), Some(&view));
}

pub async fn a_task_is_its_agents_and_its_runs_alone(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let stranger = world.tenant("other").await;
    let (job, watch) = {
        world.puller("one").await;
        world.run_pulled(&tenant, "one").await
    };
    let other = world.puller("two").await;
    world.offer_of(&job).await;
    assert_eq!(world.lease_of(other).await, None);
    let leased = world.lease_of(watch.agent).await.expect("a task");
    let thief = TaskHolder {
        agent: other,
        ..by(watch, &leased)
    };
    assert!(is_unknown(&world.says(thief, "mine").await));
    assert!(is_unknown(&world.hands_over(thief, RESULT).await));
    let guess = TaskHolder {
        lease: TaskLeaseId::from_uuid(world.ids.next(world.now())),
        ..by(watch, &leased)
    };
    let refusal = refused(&world.hands_over(guess, RESULT).await);
    assert_eq!(refusal, Some(TaskRefusal::LeaseLost));
    let tenant = stranger.id;
    let fence = watch.fence + 1;
    for wrong in [TaskWatch { tenant, ..watch }, TaskWatch { fence, ..watch }] {
        assert_eq!(world.view(wrong).await, None);
        let tasks = &world.store.agent_tasks;
        let taken = tasks.withdraw_task(wrong, Withdrawal::Lost, world.now());
        assert_eq!(taken.await.expect(OK), None);
    }
    assert!(world.says(by(watch, &leased), "still").await.is_ok());
}

pub async fn who_lost_its_lease_is_refused(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let first = world.puller("first").await;
    let (job, watch) = world.run_pulled(&tenant, "one").await;
    world.offer_of(&job).await;
    let leased = world.lease_of(first).await.expect("a task");
    let holder = by(watch, &leased);
    world.pass(TASK_LEASE);
    let late = refused(&world.says(holder, "late").await);
    assert_eq!(late, Some(TaskRefusal::LeaseLost));
    let late = refused(&world.hands_over(holder, RESULT).await);
    assert_eq!(late, Some(TaskRefusal::LeaseLost));
    let tasks = &world.store.agent_tasks;
    let taken = tasks.withdraw_task(watch, Withdrawal::Lost, world.now());
    let taken = taken.await.expect(OK).expect("it is ours");
    assert_eq!(taken.stage, TaskStage::Lost);
    // Its session goes to another agent, and the first one still learns that it has nothing any more.
    let second = world.puller("second").await;
    let next = TaskWatch {
        agent: second,
        ..watch
    };
    let offer = TaskOffer {
        watch: next,
        attempt: job.attempt,
        body: BODY.to_owned(),
    };
    let offered = tasks.offer_task(offer, world.now()).await.expect(OK);
    assert_eq!(offered, Offered::Anew);
    let late = refused(&world.hands_over(holder, RESULT).await);
    assert_eq!(late, Some(TaskRefusal::LeaseLost));
    assert!(world.lease_of(second).await.is_some());
}

pub async fn a_task_that_nobody_wants_is_told_so(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 9).await;
    world.puller("one").await;
    let (job, watch) = world.run_pulled(&tenant, "one").await;
    world.offer_of(&job).await;
    let leased = world.lease_of(watch.agent).await.expect("a task");
    world.puller("two").await;
    let (idle, unleased) = world.run_pulled(&tenant, "two").await;
    world.offer_of(&idle).await;
    for job in [&job, &idle] {
        let jobs = &world.store.jobs;
        let asked = jobs.steer(tenant.id, job.id, Action::Stop, world.now());
        asked.await.expect("it runs");
    }
    assert_eq!(world.lease_of(unleased.agent).await, None);
    let holder = by(watch, &leased);
    let told = refused(&world.says(holder, "still at it").await);
    assert_eq!(told, Some(TaskRefusal::Cancelled));
    let tasks = &world.store.agent_tasks;
    let taken = tasks.withdraw_task(watch, Withdrawal::Cancelled, world.now());
    let taken = taken.await.expect(OK).expect("it is ours");
    assert_eq!(taken.stage, TaskStage::Cancelled);
    let told = refused(&world.hands_over(holder, RESULT).await);
    assert_eq!(told, Some(TaskRefusal::Cancelled));
}

pub async fn the_run_after_a_lost_one_joins_its_task(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let first = world.puller("first").await;
    let (lost, watched) = world.run_pulled(&tenant, "one").await;
    world.offer_of(&lost).await;
    let leased = world.lease_of(first).await.expect("a task");
    let second = world.puller("second").await;
    world.worker_dies(&[first, second]).await;
    // The second one is free and just as good, the first one says that it is busy: with this very task.
    world.beats(second, AgentStatus::Healthy).await;
    let worker = world.worker().await;
    let job = world.claim_pulled(worker).await.remove(0);
    let watch = watch(&job);
    assert_eq!(watch.agent, first);
    assert_eq!(world.offer_of(&lost).await, Offered::Fenced);
    assert_eq!(world.offer_of(&job).await, Offered::Joined);
    assert_eq!(world.view(watched).await, None, "it is the new run's");
    let holder = by(watch, &leased);
    world
        .says(holder, "still at it")
        .await
        .expect("it works on");
    world.hands_over(holder, RESULT).await.expect("it is ours");
    // That run is lost too; what was done stays done.
    world.beats(first, AgentStatus::Healthy).await;
    world.worker_dies(&[first, second]).await;
    let worker = world.worker().await;
    let third = world.claim_pulled(worker).await.remove(0);
    assert_eq!(world.offer_of(&third).await, Offered::Joined);
    let view = world.view(super::agent_tasks::watch(&third)).await;
    assert_eq!(view.and_then(|it| it.result).as_deref(), Some(RESULT));
}

pub async fn a_run_that_failed_leaves_nothing_to_join(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let agent = world.puller("only").await;
    world.submitted(&tenant, routed("one")).await;
    let worker = world.worker().await;
    let job = world.claim_pulled(worker).await.remove(0);
    world.offer_of(&job).await;
    let leased = world.lease_of(agent).await.expect("a task");
    let holder = by(watch(&job), &leased);
    world.hands_over(holder, RESULT).await.expect("it is ours");
    let again = Ending::Retry {
        error: JobError::new("AGENT_FAILED", "it is no good"),
        after: Some(Duration::ZERO),
    };
    let mut finish = world.finish_of(&job, again);
    finish.agent = Outcome::Failed;
    let finished = world.store.engine.finish(worker, vec![finish], world.now());
    assert_eq!(finished.await.expect(OK).fenced, []);
    let job = world.claim_pulled(worker).await.remove(0);
    assert_eq!(world.offer_of(&job).await, Offered::Anew);
    let view = world.view(watch(&job)).await.expect("it is there");
    assert_eq!((view.stage, view.result), (TaskStage::Offered, None));
    let late = refused(&world.says(holder, "late").await);
    assert_eq!(late, Some(TaskRefusal::LeaseLost));
}

pub async fn of_those_who_ask_at_once_one_gets_the_task(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("acme").await;
    let agent = world.puller("one").await;
    let (job, _) = world.run_pulled(&tenant, "one").await;
    world.offer_of(&job).await;
    let asks = (0..8).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { world.lease_of(agent).await })
    });
    let asks: Vec<_> = asks.collect();
    let mut got = 0;
    for ask in asks {
        got += usize::from(ask.await.expect("it ends").is_some());
    }
    assert_eq!(got, 1);
}

pub async fn tasks_that_nobody_touches_are_forgotten(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant_with_quota("acme", 9).await;
    world.puller("one").await;
    let (job, watch) = world.run_pulled(&tenant, "one").await;
    world.offer_of(&job).await;
    let leased = world.lease_of(watch.agent).await.expect("a task");
    let holder = by(watch, &leased);
    world.hands_over(holder, RESULT).await.expect("it is ours");
    for is_there in [true, false] {
        world.pass(TASKS_KEPT);
        world.puller(&format!("new-{is_there}")).await;
        let (other, _) = world.run_pulled(&tenant, "another").await;
        world.offer_of(&other).await;
        let repeated = world.hands_over(holder, RESULT).await;
        assert_eq!(repeated.is_ok(), is_there, "{repeated:?}");
    }
}
