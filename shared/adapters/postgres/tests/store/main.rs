//! The PostgreSQL store against a real server: the contract of every store, and what only this one can get wrong.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod clock;
mod contention;
mod contract;
mod failures;
mod schema;
mod text;
