//! Agents that work for sessions, and the places where they work.
//!
//! An agent's program is somebody else's code. So everything here is written around three promises: nothing that a run
//! started outlives it ([`guard`]), nothing that a run does reaches the user's own repository ([`workspace`]), and
//! nothing that a run prints shows a secret that the worker knows of ([`output`]).
//!
//! Linux only: the guard leans on child subreapers and `/proc`.

mod command;
pub mod eap;
mod echo;
mod environment;
mod external;
pub mod failure;
pub mod guard;
mod handed;
pub mod isolation;
mod opencode;
pub mod output;
pub mod private;
mod progress;
pub mod supervise;
pub mod workspace;

pub use command::CommandAgent;
pub use echo::EchoAgent;
pub use environment::Environment;
pub use external::{ExternalAgent, ExternalSetup};
pub use opencode::{
    OpenCodeAgent, OpenCodeSetup, ProviderSet, ProvidersError, check_config, check_servers,
};
pub use progress::without_nul;
