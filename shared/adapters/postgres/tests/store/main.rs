//! The PostgreSQL store against a real server: the contract of every store, and what only this one can get wrong.

mod clock;
mod contention;
mod contract;
mod failures;
mod schema;
mod text;
