//! What happens to the world from outside, and when: load, people, crashes. Drawn in full before anything moves.

use std::sync::Arc;
use std::time::Duration;

use application::use_cases::{Offer, change_tenant, steer_job};
use domain::{
    Action, DependencyRule, JobId, JobKind, JobSpec, Labels, NewJob, Priority, TenantChange,
    TenantId,
};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::model::Broken;
use crate::plan::Plan;
use crate::process::Life;
use crate::stage::Stage;

/// Jobs of one submission.
const BULK_MAX: usize = 8;
/// Long enough for a lease to run out, or not.
const FREEZE_MS: std::ops::RangeInclusive<u64> = 300..=20_000;
const DELAYED_MS: i64 = 5_000;
const QUOTA_MAX: u32 = 4;
const WEIGHT_MAX: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Submit(usize),
    Steer,
    ChangeTenant,
    Kill,
    StartWorker,
    Freeze,
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
    add(Act::Kill, plan.kills);
    add(Act::StartWorker, plan.kills.min(2));
    add(Act::Freeze, plan.freezes);
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
        Act::StartWorker => stage.start_worker(false),
        Act::Kill => {
            if let Some(crew) = anybody(&stage) {
                crew.kill();
            }
        }
        Act::Freeze => freeze(&stage).await,
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

fn tenant(stage: &Stage) -> TenantId {
    let tenants = stage.tenants();
    tenants[stage.world.dice(|dice| dice.usize(..tenants.len()))]
}

async fn submit(stage: &Stage, count: usize) {
    let tenant = tenant(stage);
    let now = stage.world.now();
    let jobs = (0..count)
        .map(|_| {
            stage.world.dice(|dice| {
                let kind = if dice.u8(..3) == 0 {
                    JobKind::Training
                } else {
                    JobKind::Session
                };
                let wait = (dice.u8(..10) == 0)
                    .then(|| now + chrono::TimeDelta::milliseconds(dice.i64(0..DELAYED_MS)));
                NewJob {
                    priority: Priority::ALL[dice.usize(..Priority::ALL.len())],
                    max_duration_seconds: dice.u32(3..=8),
                    max_attempts: dice.u32(1..=4),
                    run_after: wait,
                    start: dice.u8(..12) > 0,
                    ..new_job(kind)
                }
            })
        })
        .collect();
    submit_all(stage, tenant, jobs).await;
}

/// A promise that was given is kept in mind.
pub async fn submit_all(stage: &Stage, tenant: TenantId, jobs: Vec<NewJob>) {
    let producer = stage.producer();
    let submitted = producer
        .submitter
        .submit(tenant, jobs.into_iter().map(Offer::from).collect());
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
    let found = stage.world.model(|model| {
        let all: Vec<_> = model
            .jobs
            .iter()
            .map(|(id, job)| (*id, job.tenant))
            .collect();
        all
    });
    if found.is_empty() {
        return;
    }
    let (chosen, action) = stage.world.dice(|dice| {
        const ACTIONS: [Action; 5] = [
            Action::Stop,
            Action::Stop,
            Action::Cancel,
            Action::Retry,
            Action::Start,
        ];
        (
            dice.usize(..found.len()),
            ACTIONS[dice.usize(..ACTIONS.len())],
        )
    });
    let (job, tenant) = found[chosen];
    let (job, tenant) = (JobId::from_uuid(job), TenantId::from_uuid(tenant));
    // Most states refuse most actions; that is an answer too.
    let producer = stage.producer();
    let steered = steer_job(&producer.ports, tenant, job, action);
    let _ = producer.process.gone.run_until_cancelled(steered).await;
}

async fn change(stage: &Stage) {
    let tenant = tenant(stage);
    let change = stage.world.dice(|dice| TenantChange {
        active: Some(dice.u8(..4) > 0),
        weight: Some(dice.u32(1..=WEIGHT_MAX)),
        session_quota: Some(dice.u32(1..=QUOTA_MAX)),
        training_quota: Some(dice.u32(1..=QUOTA_MAX)),
        ..TenantChange::default()
    });
    let producer = stage.producer();
    let changed = change_tenant(&producer.ports, tenant, change, None);
    let _ = producer.process.gone.run_until_cancelled(changed).await;
}
