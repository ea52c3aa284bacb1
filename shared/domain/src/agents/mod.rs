//! Registered agents: who may do a session's work, what each can do, and how it fares.
//!
//! Everything here is a decision about values. Which agents exist, who works for whom and what time it is comes in as
//! arguments; the stores keep what these functions return and decide nothing themselves.

mod another;
mod assign;
mod breaker;
mod capability;
mod condition;
mod definition;
mod route;
mod score;
mod task;
#[cfg(test)]
mod tests;

pub use another::another_would_do;
pub use assign::{Assignment, RoutedOffer, WaitingTask, assign, confirm, in_turns};
pub use breaker::{BREAKER_FAILURES, BREAKER_PAUSE, BREAKER_PAUSE_MAX, Breaker};
pub use capability::{WELL_KNOWN_CAPABILITIES, is_capability};
pub use condition::{
    AgentStatus, Beat, Condition, HEARTBEAT_INTERVAL, HEARTBEATS_MISSED, Outcome, UnknownStatus,
};
pub use definition::{
    AgentChange, AgentDefinition, AgentWork, CAPACITY_MAX, ExternalAgent, RegisteredAgent,
    RegisteredKind, TIER_MAX, UnknownRegisteredKind,
};
pub use route::{
    ALTERNATIVES, Candidate, Refusal, Rejected, RouteContext, RouteRequest, Routing, route,
};
pub use score::{Parts, Scored, WEIGHTS, Weights};
pub use task::{
    PulledTask, TASK_LEASE, TASK_RENEWAL, TaskKey, TaskLease, TaskRefusal, TaskReport, TaskStage,
    TaskWords, UnknownTask, Withdrawal,
};
