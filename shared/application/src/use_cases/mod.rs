//! One verb, one file.

mod authenticate;
mod change_schedule;
mod change_tenant;
mod create_key;
mod create_schedule;
mod create_tenant;
mod dispatch;
pub(crate) mod fire_schedules;
mod link_offers;
mod release_jobs;
mod replay_dead_letters;
mod restore_checkpoint;
mod run_schedule;
mod steer_job;
mod steer_queues;
mod submit_jobs;
mod why;

pub use authenticate::{AuthError, Authenticator};
pub use change_schedule::{ChangeScheduleError, change_schedule};
pub use change_tenant::change_tenant;
pub use create_key::{CreateKeyError, NewKey, create_key};
pub use create_schedule::{CreateScheduleError, create_schedule};
pub use create_tenant::create_tenant;
pub use dispatch::Dispatcher;
pub use fire_schedules::{FIRE_BATCH, FireRound, fire_schedules};
pub use link_offers::Offer;
pub use release_jobs::release_jobs;
pub use replay_dead_letters::{replay_dead_letters, step_replay};
pub use restore_checkpoint::restore_checkpoint;
pub use run_schedule::{RunScheduleError, run_schedule};
pub use steer_job::steer_job;
pub use steer_queues::steer_queues;
pub use submit_jobs::{SubmitError, Submitter};
pub use why::{Estimate, Reason, Why, why};
