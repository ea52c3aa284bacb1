//! What the product does, told in ports and use cases. Knows the domain; knows no database, broker or protocol.

pub mod agent_tokens;
pub mod batch;
pub mod outbound;
pub mod output_schema;
pub mod ports;
mod timetable;
pub mod use_cases;

pub use timetable::{NotATimetable, Timetable};

#[cfg(feature = "testing")]
pub mod testing;
