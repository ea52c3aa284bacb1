//! What external agents say, by the External Agent Protocol.

pub(super) mod heartbeat;
pub(super) mod register;
