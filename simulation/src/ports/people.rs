//! What people ask of the store beside jobs: tenants, schedules, replays.

use std::sync::Arc;

use application::ports::{
    DueSchedules, Fired, Firing, ReplayStep, ReplayStore, ScheduleStore, ScheduleStoreError,
    StoreError, TenantError, TenantStore,
};
use async_trait::async_trait;
use domain::{
    DeadLetterFilter, DeadLetterGroup, Month, MonthUse, Replay, ReplayId, Schedule, ScheduleId,
    SlotSnapshot, Tenant, TenantChange, TenantId, Timestamp,
};

use super::store::{Store, reach};

type Changed = Option<(Tenant, Vec<SlotSnapshot>)>;

reach!(TenantStore {
    create_tenant(tenant: Tenant) -> Vec<SlotSnapshot>, TenantError;
    tenant(id: TenantId) -> Option<Tenant>, StoreError;
    month(id: TenantId, month: Month) -> MonthUse, StoreError;
    change_tenant(id: TenantId, change: TenantChange, expected: Option<i64>, now: Timestamp) -> Changed, TenantError;
}
    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StoreError> {
        let store = Arc::clone(&self.0.world.database.store);
        let slug = slug.to_owned();
        let call = async move { store.tenant_by_slug(&slug).await };
        self.reach("tenant_by_slug", call).await
    }

    async fn tenants(&self, after: Option<&str>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        let store = Arc::clone(&self.0.world.database.store);
        let after = after.map(str::to_owned);
        let call = async move { store.tenants(after.as_deref(), limit).await };
        self.reach("tenants", call).await
    }
);

reach!(ReplayStore {
    dead_letters(tenant: TenantId, filter: DeadLetterFilter, limit: u32) -> Vec<DeadLetterGroup>, StoreError;
    count_dead_letters(tenant: TenantId, filter: DeadLetterFilter) -> u32, StoreError;
    create_replay(replay: Replay) -> (), StoreError;
    replay(tenant: TenantId, id: ReplayId) -> Option<Replay>, StoreError;
    replays(tenant: TenantId, limit: u32) -> Vec<Replay>, StoreError;
    abort_replay(tenant: TenantId, id: ReplayId, now: Timestamp) -> Option<Replay>, StoreError;
    step_replay(limit: u32, now: Timestamp) -> Option<ReplayStep>, StoreError;
});

reach!(ScheduleStore {
    create_schedule(schedule: Schedule) -> (), ScheduleStoreError;
    schedule(tenant: TenantId, id: ScheduleId) -> Option<Schedule>, StoreError;
    delete_schedule(tenant: TenantId, id: ScheduleId) -> bool, StoreError;
    due_schedules(limit: u32, now: Timestamp) -> DueSchedules, StoreError;
    fire(firing: Firing, now: Timestamp) -> Fired, StoreError;
}
    async fn schedule_by_name(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<Schedule>, StoreError> {
        let store = Arc::clone(&self.0.world.database.store);
        let name = name.to_owned();
        let call = async move { store.schedule_by_name(tenant, &name).await };
        self.reach("schedule_by_name", call).await
    }

    async fn schedules(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Schedule>, StoreError> {
        let store = Arc::clone(&self.0.world.database.store);
        let after = after.map(str::to_owned);
        let call = async move { store.schedules(tenant, after.as_deref(), limit).await };
        self.reach("schedules", call).await
    }

    async fn change_schedule(&self, before: &Schedule, after: &Schedule) -> Result<bool, StoreError> {
        let store = Arc::clone(&self.0.world.database.store);
        let (before, after) = (before.clone(), after.clone());
        let call = async move { store.change_schedule(&before, &after).await };
        self.reach("change_schedule", call).await
    }
);
