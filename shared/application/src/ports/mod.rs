//! What the application needs of the outside world, as narrow traits that adapters fulfil.
//!
//! Each store method is one transaction named for what happens in the business. A method for a client takes the
//! tenant first, so that a query without one cannot be written; only [`EngineStore`] crosses tenants.

mod agent;
mod agent_store;
mod agent_task_store;
mod blobs;
mod bus;
mod clock;
mod engine_store;
mod ids;
mod job_store;
mod key_store;
mod locks;
mod queue;
mod ready;
mod replay_store;
mod run_context;
mod schedule_store;
mod store_error;
mod tenant_store;
mod training;
mod workspace;

pub use agent::{Agent, AgentProbe, AgentReport, AgentTask, Health};
pub use agent_store::{AGENTS_MAX, AgentError, AgentStore, TokenHasher};
pub use agent_task_store::{
    AgentTaskStore, LeasedTask, Offered, TASK_RESULT_BYTES_MAX, TASKS_KEPT, TASKS_SWEPT_AT_ONCE,
    TaskError, TaskHolder, TaskOffer, TaskView, TaskWatch,
};
pub use blobs::{BlobError, Blobs};
pub use bus::{BusError, EventBus, Interest, Signal, SignalStream};
pub use clock::Clock;
pub use engine_store::{
    ClaimRequest, Claimed, EngineStore, Finish, Finished, Guard, HeldJob, LeaseError, Moved,
    NewWorker, Promoted, Reaped, Reconciled, Relayed, Renewal, Report, Reported, Standing,
};
pub use ids::Ids;
pub use job_store::{
    CheckpointView, Holder, JobFilter, JobStore, QueueAction, QueueView, Refused, Restored,
    SteerError, Steered, Submission, Submitted, Waiting,
};
pub use key_store::{KeyHash, KeyStore};
pub use locks::{LockState, Locks};
pub use queue::{JobQueue, QueueError, Receipt, Visit, Wakeups};
pub use ready::{
    CHARGE_MIN_SECONDS, CoordinationError, Found, PICK_MAX, Pick, ReadySet, Served, Visited,
    charge_seconds,
};
pub use replay_store::{HELD_UP, ReplayStep, ReplayStore};
pub use run_context::{HandlerError, Interruption, RunContext};
pub use schedule_store::{
    DueSchedules, Fired, Firing, NextTick, SCHEDULES_MAX, ScheduleStore, ScheduleStoreError,
};
pub use store_error::StoreError;
pub use tenant_store::{TenantError, TenantStore};
pub use training::{TrainingProvider, TrainingReport, TrainingTask};
pub use workspace::{Diff, PushOrder, Workspace, Workspaces};

use std::sync::Arc;

/// Everything the use cases need, chosen once at the composition root.
#[derive(Clone)]
pub struct Ports {
    pub jobs: Arc<dyn JobStore>,
    pub engine: Arc<dyn EngineStore>,
    pub tenants: Arc<dyn TenantStore>,
    pub keys: Arc<dyn KeyStore>,
    pub agents: Arc<dyn AgentStore>,
    pub agent_tasks: Arc<dyn AgentTaskStore>,
    pub replays: Arc<dyn ReplayStore>,
    pub schedules: Arc<dyn ScheduleStore>,
    pub queue: Arc<dyn JobQueue>,
    pub ready: Arc<dyn ReadySet>,
    pub locks: Arc<dyn Locks>,
    pub bus: Arc<dyn EventBus>,
    pub blobs: Arc<dyn Blobs>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
}
