//! The store as a process reaches it. A method of a port is a line here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{
    CheckpointView, ClaimRequest, Claimed, EngineStore, Finish, Finished, Guard, JobFilter,
    JobStore, LeaseError, Moved, NewWorker, Promoted, QueueAction, QueueView, Reaped, Reconciled,
    Relayed, Renewal, Report, Reported, Restored, Standing, SteerError, Steered, StoreError,
    Submission, Submitted, Waiting, Wakeups,
};
use async_trait::async_trait;
use domain::{
    Action, Artifact, ArtifactId, Attempt, Checkpoint, Job, JobEvent, JobId, JobKind, Labels,
    LogChunk, LogCursor, QueueKey, SlotSnapshot, TenantId, Timestamp, WorkerRef, WorkerView,
};

use crate::model::{Broken, Call};
use crate::plan::SLOW_MS;
use crate::process::Process;

pub struct Store(pub Arc<Process>);

impl Store {
    /// Held, delayed, failed or robbed of its answer by the seed; while it is done, the world stands still.
    pub(super) async fn reach<T, E>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let process = &self.0;
        let world = &process.world;
        let faults = &world.plan.faults;
        process.calls(name);
        self.slow().await;
        if world.strikes(faults.store.fail) {
            self.note(name, "fails");
            return Err(unavailable("the simulation lets it fail").into());
        }
        let Some((result, changes)) = world.database.call(call) else {
            world.breaks(Broken::new("no call of the store panics", name.to_owned()));
            return std::future::pending().await;
        };
        self.note(name, if result.is_ok() { "done" } else { "refused" });
        world.observe(&Call { process, name }, changes);
        let lost = world.strikes(faults.store.lose_answer);
        self.slow().await;
        if lost {
            self.note(name, "answer lost");
            return Err(unavailable("the simulation lost the answer").into());
        }
        result
    }

    fn note(&self, name: &str, how: &str) {
        let process = &self.0.name;
        self.0.world.note(&[process, name, how], || {
            format!("{process:<4} {name}: {how}")
        });
    }

    async fn slow(&self) {
        self.0.pause().await;
        let world = &self.0.world;
        if world.strikes(world.plan.faults.slow) {
            let rest = world.dice(|dice| dice.u64(..SLOW_MS));
            self.0.rest(Duration::from_millis(rest)).await;
        }
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}

/// A port whose methods take what they need by value, and those that do not, written out.
macro_rules! reach {
    ($port:ident { $( $name:ident($($argument:ident: $type:ty),*) -> $ok:ty, $error:ty; )* } $($own:tt)*) => {
        #[async_trait]
        impl $port for Store {
            $($own)*

            $(
                async fn $name(&self, $($argument: $type),*) -> Result<$ok, $error> {
                    let store = Arc::clone(&self.0.world.database.store);
                    let call = async move { $port::$name(store.as_ref(), $($argument),*).await };
                    self.reach(stringify!($name), call).await
                }
            )*
        }
    };
}

pub(super) use reach;

reach!(EngineStore {
    register_worker(worker: NewWorker, lease_until: Timestamp, now: Timestamp) -> WorkerRef, StoreError;
    renew_lease(worker: WorkerRef, lease_until: Timestamp, now: Timestamp) -> Renewal, LeaseError;
    drain_worker(worker: WorkerRef) -> (), StoreError;
    release_worker(worker: WorkerRef, now: Timestamp) -> (), StoreError;
    relay(limit: u32, now: Timestamp) -> Relayed, StoreError;
    unpublish(wakeups: Vec<Wakeups>) -> Vec<SlotSnapshot>, StoreError;
    claim(worker: WorkerRef, requests: Vec<ClaimRequest>, now: Timestamp) -> Claimed, LeaseError;
    report(worker: WorkerRef, reports: Vec<Report>, now: Timestamp) -> Reported, StoreError;
    standing(tenant: TenantId, job: JobId) -> Option<Standing>, StoreError;
    turn_months(now: Timestamp) -> Vec<SlotSnapshot>, StoreError;
    finish(worker: WorkerRef, finishes: Vec<Finish>, now: Timestamp) -> Finished, StoreError;
    reap(grace: Duration, limit: u32, now: Timestamp) -> Reaped, StoreError;
    promote(limit: u32, now: Timestamp) -> Promoted, StoreError;
    release(limit: u32, now: Timestamp) -> Moved, StoreError;
    expire(limit: u32, now: Timestamp) -> Moved, StoreError;
    reconcile(silence: Duration, now: Timestamp) -> Reconciled, StoreError;
    recount_published(counted: Vec<(SlotSnapshot, u32)>) -> Vec<SlotSnapshot>, StoreError;
    forget_published() -> Vec<SlotSnapshot>, StoreError;
    slots(limit: u32) -> Vec<SlotSnapshot>, StoreError;
    workers() -> Vec<WorkerView>, StoreError;
}
    async fn labelled(
        &self,
        kinds: &[JobKind],
        labels: &Labels,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(QueueKey, u32)>, StoreError> {
        let store = Arc::clone(&self.0.world.database.store);
        let (kinds, labels) = (kinds.to_vec(), labels.clone());
        let call = async move { store.labelled(&kinds, &labels, limit, now).await };
        self.reach("labelled", call).await
    }

    async fn next_fence(&self, resource: &str) -> Result<i64, StoreError> {
        let store = Arc::clone(&self.0.world.database.store);
        let resource = resource.to_owned();
        let call = async move { store.next_fence(&resource).await };
        self.reach("next_fence", call).await
    }

    async fn is_latest_fence(&self, guard: &Guard) -> Result<bool, StoreError> {
        let store = Arc::clone(&self.0.world.database.store);
        let guard = guard.clone();
        let call = async move { store.is_latest_fence(&guard).await };
        self.reach("is_latest_fence", call).await
    }
);

reach!(JobStore {
    submit(submissions: Vec<Submission>, now: Timestamp) -> Submitted, StoreError;
    get(tenant: TenantId, job: JobId) -> Option<Job>, StoreError;
    list(tenant: TenantId, filter: JobFilter) -> Vec<Job>, StoreError;
    steer(tenant: TenantId, job: JobId, action: Action, now: Timestamp) -> Option<Steered>, SteerError;
    events(tenant: TenantId, job: JobId, after: i64, limit: u32) -> Option<Vec<JobEvent>>, StoreError;
    logs(tenant: TenantId, job: JobId, after: LogCursor, limit: u32) -> Option<Vec<LogChunk>>, StoreError;
    log_tail(tenant: TenantId, job: JobId, count: u32) -> Option<Vec<LogChunk>>, StoreError;
    attempts(tenant: TenantId, job: JobId) -> Option<Vec<Attempt>>, StoreError;
    artifacts(tenant: TenantId, job: JobId) -> Option<Vec<Artifact>>, StoreError;
    artifact(tenant: TenantId, job: JobId, artifact: ArtifactId) -> Option<Artifact>, StoreError;
    latest_checkpoint(tenant: TenantId, job: JobId) -> Option<Checkpoint>, StoreError;
    checkpoints(tenant: TenantId, job: JobId) -> Option<Vec<CheckpointView>>, StoreError;
    restore_checkpoint(tenant: TenantId, job: JobId, number: u32, now: Timestamp) -> Restored, StoreError;
    queues(tenant: TenantId) -> Vec<QueueView>, StoreError;
    steer_queues(tenant: TenantId, kind: Option<JobKind>, action: QueueAction) -> Option<Vec<SlotSnapshot>>, StoreError;
    waiting(tenant: TenantId, job: JobId, now: Timestamp) -> Option<Waiting>, StoreError;
});
