//! The audit: what must hold in the store's own tables, as queries that find what does not. Each rule is one statement
//! that returns a row a violation; `tests.rs` breaks each of them by hand and sees it found.

mod database;
mod report;
mod rules;
mod tests;

pub use database::Database;
pub use report::{Audit, What};
pub use rules::{AT_ALL_TIMES, AT_EVERY_START, AT_THE_END};
pub use tests::every_rule_finds_what_breaks_it;
