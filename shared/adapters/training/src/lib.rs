//! Ways to have a model trained.
//!
//! [`SubprocessTrainer`] drives any program that speaks JSON lines, below the same guard as commands of sessions.
//! [`reference`] is such a program, small enough to read in one sitting and real enough that its loss falls.

pub mod reference;
mod subprocess;

pub use subprocess::SubprocessTrainer;
