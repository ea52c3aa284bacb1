use std::time::Duration;

use async_trait::async_trait;
use domain::{
    DeadLetterFilter, DeadLetterGroup, Job, Replay, ReplayId, SlotSnapshot, TenantId, Timestamp,
};

use super::StoreError;

/// A replay that is held up is looked at again after so long, so that it holds up no other.
pub const HELD_UP: Duration = Duration::from_secs(1);

/// Dead letters and their replays.
#[async_trait]
pub trait ReplayStore: Send + Sync {
    /// The groups with most jobs first, at most `limit`.
    async fn dead_letters(
        &self,
        tenant: TenantId,
        filter: DeadLetterFilter,
        limit: u32,
    ) -> Result<Vec<DeadLetterGroup>, StoreError>;

    /// How many dead letters match.
    async fn count_dead_letters(
        &self,
        tenant: TenantId,
        filter: DeadLetterFilter,
    ) -> Result<u32, StoreError>;

    async fn create_replay(&self, replay: Replay) -> Result<(), StoreError>;

    async fn replay(&self, tenant: TenantId, id: ReplayId) -> Result<Option<Replay>, StoreError>;

    /// Newest first, at most `limit`.
    async fn replays(&self, tenant: TenantId, limit: u32) -> Result<Vec<Replay>, StoreError>;

    /// Calls a running replay off; one that is over stays as it is. `None`: no such replay of this tenant.
    async fn abort_replay(
        &self,
        tenant: TenantId,
        id: ReplayId,
        now: Timestamp,
    ) -> Result<Option<Replay>, StoreError>;

    /// REPLAY, one step of the running replay that was longest not looked at, held-up ones of less than [`HELD_UP`] ago
    /// aside: its next dead letters by id, at most
    /// `limit`, of those that had failed when it was asked for, are retried like by a person ([`domain::Job::steer`]) as
    /// far as the tenant's backlog has room, and the replay says how far it is; with none left it is completed. Without
    /// room it says why it is held up. One transaction; of callers at once each takes another replay. `None`: nothing
    /// is to be done now.
    async fn step_replay(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Option<ReplayStep>, StoreError>;
}

#[derive(Debug)]
pub struct ReplayStep {
    /// As it is now.
    pub replay: Replay,
    /// Queued again by this step; the relay sends their wake-ups.
    pub jobs: Vec<Job>,
    pub slots: Vec<SlotSnapshot>,
}
