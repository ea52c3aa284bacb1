//! One verb, one file.

mod authenticate;
mod change_tenant;
mod create_key;
mod create_tenant;
mod dispatch;
mod steer_job;
mod submit_jobs;

pub use authenticate::{AuthError, Authenticator};
pub use change_tenant::change_tenant;
pub use create_key::{CreateKeyError, NewKey, create_key};
pub use create_tenant::create_tenant;
pub use dispatch::Dispatcher;
pub use steer_job::steer_job;
pub use submit_jobs::{SubmitError, Submitter};
