//! The rules of the product, and nothing else: what a job is, how it may move, who may do what.
//!
//! Pure values: no I/O, no async, no clock, no randomness. Time, ids and jitter come in as arguments, so every
//! rule here can be tested by calling it. Nothing in this crate knows of HTTP, SQL or a broker.

mod agents;
mod api_key;
mod artifact;
mod attempt;
mod backoff;
mod budget;
mod checkpoint;
mod demands;
mod dependency;
mod eap;
mod error;
mod event;
mod external;
mod family;
mod fingerprint;
mod ids;
mod job;
mod labels;
mod ledger;
mod log;
mod month;
mod new_job;
mod opencode;
mod output;
mod priority;
mod progress;
mod push;
mod replay;
mod result;
mod role;
mod schedule;
mod session;
mod settle;
mod slots;
mod spec;
mod state;
mod template;
mod tenant;
mod training;
mod turn;
mod verify;
mod violation;
mod worker;

pub use agents::{
    ALTERNATIVES, AgentChange, AgentDefinition, AgentStatus, AgentWork, Assignment,
    BREAKER_FAILURES, BREAKER_PAUSE, BREAKER_PAUSE_MAX, Beat, Breaker, CAPACITY_MAX, Candidate,
    Condition, ExternalAgent, HEARTBEAT_INTERVAL, HEARTBEATS_MISSED, Outcome, Parts, PulledTask,
    Refusal, RegisteredAgent, RegisteredKind, Rejected, RouteContext, RouteRequest, RoutedOffer,
    Routing, Scored, TASK_LEASE, TASK_RENEWAL, TIER_MAX, TaskKey, TaskLease, TaskRefusal,
    TaskReport, TaskStage, TaskWords, UnknownRegisteredKind, UnknownStatus, UnknownTask, WEIGHTS,
    WELL_KNOWN_CAPABILITIES, WaitingTask, Weights, Withdrawal, another_would_do, assign, confirm,
    in_turns, is_capability, route,
};
pub use api_key::ApiKey;
pub use artifact::Artifact;
pub use attempt::{Attempt, AttemptOutcome};
pub use backoff::{BACKOFF_BASE, BACKOFF_CAP, backoff};
pub use budget::{
    BELIEVED_COST_MAX, BELIEVED_TOKENS_MAX, BUDGET_EXCEEDED, Budget, OnLimit, Spent, Used, money,
    unbelievable_cost, unbelievable_tokens,
};
pub use checkpoint::{CHECKPOINTS_KEPT, Checkpoint};
pub use demands::Demands;
pub use dependency::{DependencyRule, Prerequisite, UnknownRule, find_cycle};
pub use eap::{Eap, is_agent_name};
pub use error::JobError;
pub use event::{EventKind, JobEvent};
pub use external::External;
pub use family::{Account, FAMILY_DEPTH_MAX, OverBudget, Whose, over_budget};
pub use fingerprint::fingerprint;
pub use ids::{
    AgentId, ApiKeyId, ArtifactId, JobId, ParseIdError, ReplayId, ScheduleId, TaskLeaseId,
    TenantId, WorkerId,
};
pub use job::{Claim, Job, Status};
pub use labels::{AGENT_LABEL, Labels, NotALabel};
pub use ledger::Ledger;
pub use log::{LogChunk, LogCursor, LogStream};
pub use month::{LimitChange, Month, MonthUse, MonthlyLimits};
pub use new_job::NewJob;
pub use opencode::{OpenCode, PermissionAction, PermissionRule, is_providers_name};
pub use output::{OUTPUT_BYTES_MAX, OUTPUT_FILE, OutputDemand};
pub use priority::{Priority, UnknownPriority};
pub use progress::{AwaitedLock, Progress};
pub use push::{Push, Pushed};
pub use replay::{DeadLetterFilter, DeadLetterGroup, Replay, ReplayState, UnknownReplayState};
pub use result::{DiffStat, JobResult, OwnRating, SessionResult, TrainingResult, Usage};
pub use role::{Permit, Role, UnknownRole};
pub use schedule::{
    MissedTicks, NewSchedule, Overlap, Schedule, ScheduleChange, ScheduleError, UnknownPolicy,
};
pub use session::{
    AgentKind, AgentSpec, Command, DIFF_ARTIFACT, OUTPUT_ARTIFACT, PATCH_ARTIFACT, Repository,
    SessionSpec, UnknownAgent, is_inside,
};
pub use settle::{Ending, Settlement, settle};
pub use slots::{
    QueueKey, RELAY_WINDOW_SPARE, SERVICE_SECONDS_UNKNOWN, SlotSnapshot, relay_window,
    service_seconds,
};
pub use spec::{JobKind, JobSpec, UnknownKind};
pub use state::{Action, InvalidTransition, JobState, UnknownState};
pub use template::JobTemplate;
pub use tenant::{NewTenant, Quotas, Tenant, TenantChange};
pub use training::{Dataset, TrainingProviderKind, TrainingSpec};
pub use turn::{AGEING, turn};
pub use verify::{Verified, Verify};
pub use violation::{Violation, Violations, has_nul};
pub use worker::{WorkerRef, WorkerView};

/// An instant, in UTC with microseconds: the finest that both stores keep.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
