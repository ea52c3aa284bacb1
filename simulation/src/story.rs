//! One seed's world from its beginning to its end: load and faults, then peace, then everybody leaves.

use std::sync::Arc;
use std::time::Duration;

use application::ports::QueueAction;
use application::use_cases::{change_tenant, steer_job, steer_queues};
use domain::{Action, JobId, JobState, LimitChange, TenantChange, TenantId, Timestamp};

use tokio_util::task::TaskTracker;

use crate::acts::{self, Act};
use crate::model::{Broken, JobRow};
use crate::process::Life;
use crate::stage::Stage;
use crate::watch::{self, Calm};

/// How often somebody looks whether something is overdue.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// From the last fault to the last job's end: reaped, tried again with backoff, hung to its limit.
const PEACE: Duration = Duration::from_mins(4);
/// Nothing runs when the workers are asked to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

pub async fn tell(stage: Arc<Stage>, acts: Vec<(Duration, Act)>) -> Result<(), Broken> {
    let world = Arc::clone(&stage.world);
    for number in 0..world.plan.tenants {
        stage.found_tenant(number).await?;
    }
    stage.start_worker(true);
    for _ in 1..world.plan.workers {
        stage.start_worker(false);
    }
    let always = world.plan.is_calm();
    let begun = world.now();
    world.set_faulty(!always);
    let start = tokio::time::Instant::now();
    let calm = always.then_some(Calm {
        since: begun,
        always,
    });
    let watching = async { keep_watch(&stage, calm).await };
    let under_way = TaskTracker::new();
    let performing = async {
        for (at, act) in acts {
            tokio::time::sleep_until(start + at).await;
            under_way.spawn(acts::perform(Arc::clone(&stage), act));
        }
        tokio::time::sleep_until(start + world.plan.load).await;
    };
    tokio::select! {
        biased;
        broken = watching => return broken,
        () = performing => {}
    }
    end_faults(&stage);
    under_way.close();
    under_way.wait().await;
    make_peace(&stage).await;
    let since = if always { begun } else { world.now() };
    let calm = Calm { since, always };
    tokio::select! {
        biased;
        broken = keep_watch(&stage, Some(calm)) => broken?,
        done = settle(&stage) => done?,
    }
    close(&stage).await
}

/// Without `calm`, only what holds also while things go wrong.
async fn keep_watch(stage: &Stage, calm: Option<Calm>) -> Result<(), Broken> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now: Timestamp = stage.world.now();
        stage.world.model(|model| {
            watch::strays(model)?;
            calm.map_or(Ok(()), |calm| watch::look(model, now, calm))
        })?;
    }
}

/// From here on nothing goes wrong any more; who is frozen stays so until its time is over.
fn end_faults(stage: &Stage) {
    stage.world.set_faulty(false);
    stage
        .world
        .note(&["no more faults"], || "---- no more faults".to_owned());
}

/// Who was paused goes on, and somebody is there to do the work.
async fn make_peace(stage: &Stage) {
    stage.world.note(&["peace"], || "---- peace".to_owned());
    let versatile = |crew: &crate::stage::Crew| crew.stays() && crew.is_versatile();
    if !stage.workers().iter().any(versatile) {
        stage.start_worker(true);
    }
    for tenant in stage.tenants() {
        let active = TenantChange {
            active: Some(true),
            monthly_tokens: LimitChange::Lift,
            ..TenantChange::default()
        };
        let ports = stage.producer().ports;
        let _ = change_tenant(&ports, tenant, active, None).await;
        let _ = steer_queues(&ports, tenant, None, QueueAction::Resume).await;
    }
}

/// Until every job has come to its end.
async fn settle(stage: &Stage) -> Result<(), Broken> {
    let world = &stage.world;
    let end = world.elapsed() + PEACE;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        start_waiting(stage).await;
        if world.model(|model| model.unfinished()) == 0 {
            return Ok(());
        }
        if world.elapsed() > end {
            return Err(Broken::new("every job comes to its end", unfinished(stage)));
        }
    }
}

/// A job that waits to be started, or to be resumed, is by somebody; one that waits for others is not.
async fn start_waiting(stage: &Stage) {
    let waiting: Vec<_> = stage.world.model(|model| {
        let action = |job: &JobRow| match job.state {
            JobState::Pending if job.wishes.depends_on.is_empty() => Some(Action::Start),
            JobState::Paused => Some(Action::Resume),
            _ => None,
        };
        let jobs = model.jobs.iter();
        jobs.filter_map(|(id, job)| Some((*id, job.tenant, action(job)?)))
            .collect()
    });
    for (job, tenant, action) in waiting {
        let (job, tenant) = (JobId::from_uuid(job), TenantId::from_uuid(tenant));
        let _ = steer_job(&stage.producer().ports, tenant, job, action).await;
    }
}

fn unfinished(stage: &Stage) -> String {
    stage.world.model(|model| {
        let jobs = model.jobs.clone();
        let left = jobs.iter().filter(|(_, job)| !job.state.is_finished());
        left.map(|(id, job)| format!("{} is {}", model.name(*id), job.state))
            .collect::<Vec<_>>()
            .join(", ")
    })
}

/// Everybody who is up leaves in order, and leaves nothing behind.
async fn close(stage: &Stage) -> Result<(), Broken> {
    let crews = stage.workers();
    for crew in &crews {
        crew.leave.cancel();
    }
    for crew in &crews {
        if crew.process.life() == Life::Up && !crew.has_left(LEAVE_WITHIN).await {
            let how = format!("{} is still there", crew.process.name);
            return Err(Broken::new(
                "a worker that has nothing to do can leave",
                how,
            ));
        }
    }
    stage.world.model(|model| {
        let lost = model
            .promised
            .iter()
            .find(|id| !model.jobs.contains_key(*id));
        if let Some(lost) = lost {
            return Err(Broken::new("no job is lost", lost.to_string()));
        }
        let busy = model
            .slots
            .iter()
            .find(|(_, row)| row.counts != crate::model::Counts::default());
        match busy {
            Some((queue, row)) => {
                let how = format!("{} of {}: {:?}", queue.1, queue.0, row.counts);
                Err(Broken::new("when all is done, no slot is taken", how))
            }
            None => Ok(()),
        }
    })
}
