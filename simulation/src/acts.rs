//! What happens to the world from outside, and when: load, people, crashes. Drawn in full before anything moves.

use std::sync::Arc;
use std::time::Duration;

use application::ports::QueueAction;
use application::use_cases::{Offer, change_tenant, steer_job, steer_queues};
use chrono::TimeDelta;
use domain::{
    Action, DependencyRule, JobId, JobKind, JobSpec, Labels, LimitChange, NewJob, Priority,
    TenantChange, TenantId, Timestamp,
};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::model::Broken;
use crate::plan::Plan;
use crate::process::Life;
use crate::stage::{Stage, some_labels};

/// Jobs of one submission.
const BULK_MAX: usize = 8;
/// Long enough for a lease to run out, or not.
const FREEZE_MS: std::ops::RangeInclusive<u64> = 300..=20_000;
/// How long one lies in wait.
const AMBUSH: Duration = Duration::from_secs(6);
const DELAYED_MS: i64 = 5_000;
/// After its time has come; more than clocks differ.
const DEADLINE_MS: std::ops::Range<i64> = 2_500..20_000;
const PREREQUISITES_MAX: usize = 3;
const QUOTA_MAX: u32 = 4;
const WEIGHT_MAX: u32 = 4;
/// What a tenant's month may be limited to; a few sessions use as much.
const TOKENS_MAX: u64 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Submit(usize),
    Steer,
    ChangeTenant,
    SteerQueue,
    Kill,
    StartWorker,
    Freeze,
    Ambush,
    Drain,
    KillProducer,
    WipeBroker,
    WipeReady,
}

/// In the order of their times.
pub fn draw(plan: &Plan, rng: &mut Rng) -> Vec<(Duration, Act)> {
    let mut acts = Vec::new();
    let mut jobs = plan.jobs;
    while jobs > 0 {
        let bulk = if rng.bool() {
            1
        } else {
            rng.usize(1..=BULK_MAX)
        };
        let bulk = bulk.min(jobs);
        jobs -= bulk;
        acts.push(Act::Submit(bulk));
    }
    let mut add = |act, times| acts.extend(std::iter::repeat_n(act, times));
    add(Act::Steer, plan.steers);
    add(Act::ChangeTenant, plan.tenant_changes);
    add(Act::SteerQueue, plan.queue_steers);
    add(Act::Kill, plan.kills);
    add(Act::StartWorker, plan.kills.min(2));
    add(Act::Freeze, plan.freezes);
    add(Act::Ambush, plan.ambushes);
    add(Act::Drain, plan.drains);
    add(Act::KillProducer, plan.producer_kills);
    add(Act::WipeBroker, plan.broker_wipes);
    add(Act::WipeReady, plan.ready_wipes);
    let until = u64::try_from(plan.load.as_millis()).unwrap_or(u64::MAX);
    let mut timed: Vec<_> = acts
        .into_iter()
        .map(|act| (Duration::from_millis(rng.u64(..until)), act))
        .collect();
    timed.sort_unstable();
    timed
}

pub async fn perform(stage: Arc<Stage>, act: Act) {
    let world = Arc::clone(&stage.world);
    world.note(&["act"], || format!("---- {act:?}"));
    match act {
        Act::Submit(count) => submit(&stage, count).await,
        Act::Steer => steer(&stage).await,
        Act::ChangeTenant => change(&stage).await,
        Act::SteerQueue => steer_queue(&stage).await,
        Act::StartWorker => stage.start_worker(false),
        Act::Kill => {
            if let Some(crew) = anybody(&stage) {
                crew.kill();
            }
        }
        Act::Freeze => freeze(&stage).await,
        Act::Ambush => ambush(&stage).await,
        Act::Drain => {
            if let Some(crew) = anybody(&stage) {
                crew.leave.cancel();
            }
        }
        Act::KillProducer => stage.producer().process.kill(),
        Act::WipeBroker => stage.services.wipe_broker(),
        Act::WipeReady => stage.services.wipe_ready(),
    }
}

fn anybody(stage: &Stage) -> Option<crate::stage::Crew> {
    let mut crews = stage.workers();
    crews.retain(|crew| crew.process.life() != Life::Dead);
    if crews.is_empty() {
        return None;
    }
    let chosen = stage.world.dice(|dice| dice.usize(..crews.len()));
    Some(crews.swap_remove(chosen))
}

async fn freeze(stage: &Stage) {
    let Some(crew) = anybody(stage) else { return };
    let length = stage.world.dice(|dice| dice.u64(FREEZE_MS));
    crew.process.freeze();
    tokio::time::sleep(Duration::from_millis(length)).await;
    crew.process.thaw();
}

/// Freezes somebody between a decision and the call that is to write it.
async fn ambush(stage: &Stage) {
    const CALLS: [&str; 4] = ["finish", "finish", "claim", "report"];
    let Some(crew) = anybody(stage) else { return };
    let (call, length) = stage
        .world
        .dice(|dice| (CALLS[dice.usize(..CALLS.len())], dice.u64(FREEZE_MS)));
    crew.process.lie_in_wait(Some(call));
    let caught = tokio::time::timeout(AMBUSH, crew.process.caught.notified()).await;
    crew.process.lie_in_wait(None);
    if caught.is_ok() {
        tokio::time::sleep(Duration::from_millis(length)).await;
        crew.process.thaw();
    }
}

fn tenant(stage: &Stage) -> TenantId {
    let tenants = stage.tenants();
    tenants[stage.world.dice(|dice| dice.usize(..tenants.len()))]
}

async fn submit(stage: &Stage, count: usize) {
    let tenant = tenant(stage);
    let known: Vec<JobId> = stage.world.model(|model| {
        let ours = model.jobs.iter();
        ours.filter(|(_, job)| job.tenant == tenant.as_uuid())
            .map(|(id, _)| JobId::from_uuid(*id))
            .collect()
    });
    let now = stage.world.now();
    let plan = &stage.world.plan;
    let offers = (0..count)
        .map(|index| {
            stage
                .world
                .dice(|dice| offer(plan, dice, now, &known, index))
        })
        .collect();
    submit_all(stage, tenant, offers).await;
}

/// A job of a submission, which may wait for known jobs and for those before it there.
fn offer(plan: &Plan, dice: &mut Rng, now: Timestamp, known: &[JobId], index: usize) -> Offer {
    let kind = if dice.u8(..3) == 0 {
        JobKind::Training
    } else {
        JobKind::Session
    };
    let wait = (dice.f64() < plan.delayed).then(|| dice.i64(0..DELAYED_MS));
    let deadline =
        (dice.f64() < plan.deadlines).then(|| wait.unwrap_or_default() + dice.i64(DEADLINE_MS));
    let at = |millis: i64| now + TimeDelta::milliseconds(millis);
    let (mut after, mut depends_on) = (Vec::new(), Vec::new());
    if dice.f64() < plan.dependent {
        for _ in 0..dice.usize(1..=PREREQUISITES_MAX) {
            if index > 0 && dice.bool() {
                after.push(format!("job-{}", dice.usize(..index)));
            } else if !known.is_empty() {
                depends_on.push(known[dice.usize(..known.len())]);
            }
        }
    }
    let waits = !after.is_empty() || !depends_on.is_empty();
    let job = NewJob {
        priority: Priority::ALL[dice.usize(..Priority::ALL.len())],
        max_duration_seconds: dice.u32(3..=8),
        max_attempts: dice.u32(1..=4),
        run_after: wait.map(at),
        deadline: deadline.map(at),
        requires: if dice.f64() < plan.labelled {
            some_labels(dice)
        } else {
            Labels::default()
        },
        depends_on,
        if_prerequisite_fails: DependencyRule::ALL[dice.usize(..2)],
        start: waits || dice.u8(..12) > 0,
        ..new_job(kind)
    };
    Offer {
        job,
        name: Some(format!("job-{index}")),
        after,
    }
}

/// A promise that was given is kept in mind.
pub async fn submit_all(stage: &Stage, tenant: TenantId, offers: Vec<Offer>) {
    let producer = stage.producer();
    let submitted = producer.submitter.submit(tenant, offers);
    let Some(Ok(jobs)) = producer.process.gone.run_until_cancelled(submitted).await else {
        return;
    };
    let missing = stage.world.model(|model| {
        model
            .promised
            .extend(jobs.iter().map(|job| job.id.as_uuid()));
        jobs.iter()
            .find(|job| !model.jobs.contains_key(&job.id.as_uuid()))
            .map(|job| job.id)
    });
    if let Some(job) = missing {
        let how = format!("{job} was promised and is not in the store");
        stage
            .world
            .breaks(Broken::new("a job that was taken is there", how));
    }
}

/// Through JSON, so that a new field of a spec does not matter here.
pub fn new_job(kind: JobKind) -> NewJob {
    let spec = match kind {
        JobKind::Session => json!({"kind": "session", "agent": {"kind": "echo"}}),
        JobKind::Training => json!({
            "kind": "training", "base_model": "tiny", "target_model_name": "model", "provider": "subprocess",
            "dataset": {"path": "/data/examples.jsonl"}
        }),
    };
    NewJob {
        title: "a job".to_owned(),
        priority: Priority::Medium,
        tags: Vec::new(),
        metadata: Map::new(),
        spec: spec_of(spec),
        max_duration_seconds: 60,
        max_attempts: 3,
        run_after: None,
        deadline: None,
        requires: Labels::default(),
        depends_on: Vec::new(),
        if_prerequisite_fails: DependencyRule::Fail,
        start: true,
        parent: None,
    }
}

fn spec_of(value: Value) -> JobSpec {
    match serde_json::from_value(value) {
        Ok(spec) => spec,
        Err(error) => panic!("the simulation's own job is no job: {error}"),
    }
}

async fn steer(stage: &Stage) {
    let mut found = stage.world.model(|model| {
        let all: Vec<_> = model
            .jobs
            .iter()
            .map(|(id, job)| (*id, job.tenant, job.state))
            .collect();
        all
    });
    let stops = stage.world.dice(Rng::bool);
    if stops {
        found.retain(|(_, _, state)| state.holds_slot());
    }
    if found.is_empty() {
        return;
    }
    let (chosen, action) = stage.world.dice(|dice| {
        const ACTIONS: [Action; 7] = [
            Action::Stop,
            Action::Stop,
            Action::Cancel,
            Action::Retry,
            Action::Start,
            Action::Pause,
            Action::Resume,
        ];
        let action = ACTIONS[dice.usize(..ACTIONS.len())];
        // Of those that run, most are stopped.
        let action = match action {
            Action::Pause => action,
            _ if stops => Action::Stop,
            _ => action,
        };
        (dice.usize(..found.len()), action)
    });
    let (job, tenant, _) = found[chosen];
    let (job, tenant) = (JobId::from_uuid(job), TenantId::from_uuid(tenant));
    // Most states refuse most actions; that is an answer too.
    let producer = stage.producer();
    let steered = steer_job(&producer.ports, tenant, job, action);
    let _ = producer.process.gone.run_until_cancelled(steered).await;
}

async fn steer_queue(stage: &Stage) {
    let tenant = tenant(stage);
    let (kind, action) = stage.world.dice(|dice| {
        const ACTIONS: [QueueAction; 3] =
            [QueueAction::Pause, QueueAction::Drain, QueueAction::Resume];
        let kind = dice.bool().then(|| JobKind::ALL[dice.usize(..2)]);
        (kind, ACTIONS[dice.usize(..ACTIONS.len())])
    });
    let producer = stage.producer();
    let steered = steer_queues(&producer.ports, tenant, kind, action);
    let _ = producer.process.gone.run_until_cancelled(steered).await;
}

async fn change(stage: &Stage) {
    let tenant = tenant(stage);
    let change = stage.world.dice(|dice| TenantChange {
        active: Some(dice.u8(..4) > 0),
        weight: Some(dice.u32(1..=WEIGHT_MAX)),
        session_quota: Some(dice.u32(1..=QUOTA_MAX)),
        training_quota: Some(dice.u32(1..=QUOTA_MAX)),
        monthly_tokens: match dice.u8(..4) {
            0 => LimitChange::Set(dice.u64(1..=TOKENS_MAX)),
            1 => LimitChange::Lift,
            _ => LimitChange::Keep,
        },
        ..TenantChange::default()
    });
    let producer = stage.producer();
    let changed = change_tenant(&producer.ports, tenant, change, None);
    let _ = producer.process.gone.run_until_cancelled(changed).await;
}
