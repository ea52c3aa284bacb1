//! The JSON of the API: one file a subject. Requests refuse unknown fields; answers are written from the domain's types
//! field by field, so that a change of the domain never changes the API by accident.

pub(crate) mod agent;
pub(crate) mod agent_task;
pub(crate) mod artifact;
pub(crate) mod attempt;
pub(crate) mod checkpoint;
pub(crate) mod dead_letter;
pub(crate) mod demands;
pub(crate) mod event;
pub(crate) mod external_agent;
pub(crate) mod health;
pub(crate) mod job;
pub(crate) mod key;
pub(crate) mod new_job;
pub(crate) mod new_session;
pub(crate) mod new_training;
pub(crate) mod permission;
pub(crate) mod problem;
pub(crate) mod queue;
pub(crate) mod repository;
pub(crate) mod routing;
pub(crate) mod schedule;
pub(crate) mod session_agent;
pub(crate) mod tenant;
pub(crate) mod text;
pub(crate) mod why;
pub(crate) mod worker;
