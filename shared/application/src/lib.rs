//! What the product does, told in ports and use cases. Knows the domain; knows no database, broker or protocol.

pub mod batch;
pub mod ports;
pub mod use_cases;

#[cfg(feature = "testing")]
pub mod testing;
