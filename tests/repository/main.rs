//! What the repository promises about itself: which crate may know which, that both stores have the same tables, that
//! the README's map is true, and the like. Each rule says what to do when it is broken.
#![expect(
    clippy::unwrap_used,
    reason = "the whole program is tests; a panic is how they fail"
)]

mod code_map;
mod contracts;
mod direction;
mod error_codes;
mod files;
mod licences;
mod migrations;
mod sources;
