//! The dispatch engine in a world of its own: the real domain, application and workers over the real embedded ports,
//! with time that jumps, dice from a seed, and everything going wrong.
//!
//! A seed decides all that happens, so a world that broke can be lived again, line by line. Nothing here stands in for
//! the engine: what the wrappers of the ports add is time and faults, and the checks read the store's tables.

mod acts;
mod agent;
mod bridge;
mod database;
mod fairness;
mod lab;
mod model;
mod plan;
mod ports;
mod process;
mod show;
mod stage;
mod story;
mod watch;
mod world;

pub use lab::{Lab, Report, run_all};
pub use model::Broken;
pub use world::Tracing;
