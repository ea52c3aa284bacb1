//! A world with schedules, and the moves that their contracts are made of.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use domain::{
    Job, JobId, JobTemplate, MissedTicks, NewSchedule, Overlap, Schedule, ScheduleChange,
    ScheduleId, Tenant, TenantChange, Timestamp,
};

use super::{StoreUnderTest, World};
use crate::Timetable;
use crate::ports::{Fired, Firing, Ids, ScheduleStore};
use crate::testing::make;
use crate::use_cases::fire_schedules::{firing, job};

pub const OK: &str = "the store works";
pub const HOUR: Duration = Duration::from_hours(1);

/// Every hour an echo session, the latest of missed ticks, beside one another.
pub fn hourly(name: &str) -> NewSchedule {
    NewSchedule {
        name: name.to_owned(),
        cron: "@hourly".to_owned(),
        timezone: "UTC".to_owned(),
        template: JobTemplate::of(make::new_session(&format!("of {name}")), None)
            .expect("a plain session can come again"),
        missed: MissedTicks::Latest,
        overlap: Overlap::Allow,
        paused: false,
    }
}

/// What the moves of these tests need beside a world.
pub struct Clockwork {
    pub world: World,
    pub schedules: Arc<dyn ScheduleStore>,
}

impl Clockwork {
    pub fn new(store: StoreUnderTest) -> Self {
        Self {
            schedules: Arc::clone(&store.schedules),
            world: World::new(store),
        }
    }

    pub fn made(&self, tenant: &Tenant, new: NewSchedule) -> Schedule {
        let now = self.world.now();
        let id = ScheduleId::from_uuid(self.world.ids.next(now));
        let timetable = Timetable::parse(&new.cron, &new.timezone).expect("it is one");
        let first = timetable.after(now).expect("it comes");
        new.into_schedule(id, tenant.id, first, now)
            .expect("a test's schedule is without fault")
    }

    pub async fn created(&self, tenant: &Tenant, new: NewSchedule) -> Schedule {
        let schedule = self.made(tenant, new);
        let created = self.schedules.create_schedule(schedule.clone()).await;
        created.expect("the name is free");
        schedule
    }

    pub async fn get(&self, schedule: &Schedule) -> Schedule {
        let found = self.schedules.schedule(schedule.tenant, schedule.id).await;
        found.expect(OK).expect("it is stored")
    }

    pub async fn change(&self, before: &Schedule, change: ScheduleChange) -> bool {
        let after = self.changed(before, change);
        let changed = self.schedules.change_schedule(before, &after).await;
        changed.expect(OK)
    }

    pub fn changed(&self, before: &Schedule, change: ScheduleChange) -> Schedule {
        let now = self.world.now();
        let timetable = Timetable::parse(&before.cron, &before.timezone).expect("it is one");
        let next = timetable.after(now).expect("it comes");
        let after = before.clone().change(change, next, now);
        after.expect("a test's change is without fault")
    }

    pub async fn due(&self) -> Vec<Schedule> {
        let due = self.schedules.due_schedules(100, self.world.now()).await;
        due.expect(OK).schedules
    }

    pub fn firing(&self, schedule: &Schedule) -> Firing {
        firing(&*self.world.ids, schedule, self.world.now()).expect("it has a next tick")
    }

    pub async fn fire(&self, firing: Firing) -> Fired {
        let fired = self.schedules.fire(firing, self.world.now()).await;
        fired.expect(OK)
    }

    /// Fires it as it is stored now.
    pub async fn tick(&self, schedule: &Schedule) -> Fired {
        let stored = self.get(schedule).await;
        self.fire(self.firing(&stored)).await
    }

    pub async fn job(&self, tenant: &Tenant, id: JobId) -> Job {
        let found = self.world.store.jobs.get(tenant.id, id).await;
        found.expect(OK).expect("the job is stored")
    }

    pub fn on_the_hour(hours: i64) -> Timestamp {
        // The clock of these tests starts at midnight.
        let midnight = crate::testing::ManualClock::default();
        crate::ports::Clock::now(&midnight) + TimeDelta::hours(hours)
    }

    pub async fn change_tenant(&self, tenant: &Tenant, change: TenantChange) {
        let tenants = &self.world.store.tenants;
        let changed = tenants.change_tenant(tenant.id, change, None, self.world.now());
        changed.await.expect("nothing is wrong with it");
    }

    /// A job by hand.
    pub async fn run_now(&self, schedule: &Schedule) -> Fired {
        let now = self.world.now();
        let job = job(&*self.world.ids, schedule, None, now).expect("its jobs are without fault");
        let firing = Firing {
            tenant: schedule.tenant,
            schedule: schedule.id,
            version: schedule.version,
            tick: None,
            jobs: vec![job],
            error: None,
            unless_running: false,
        };
        self.fire(firing).await
    }
}

pub fn paused(paused: bool) -> ScheduleChange {
    ScheduleChange {
        paused: Some(paused),
        ..ScheduleChange::default()
    }
}
