//! What a seed brings: how large the world is, what goes wrong in it and how often. Drawn before anything moves.

use std::time::Duration;

use fastrand::Rng;

/// Bounds of the seeded pauses of a healthy port, in milliseconds.
pub const PAUSE_MS: u64 = 3;
/// A slow call takes at most so long; longer than a third of the lease, shorter than all of it.
pub const SLOW_MS: u64 = 4_000;
/// No worker's clock is further from the true time; twice this is below the grace.
pub const SKEW: Duration = Duration::from_secs(1);
pub const LEASE: Duration = Duration::from_secs(9);
pub const GRACE: Duration = Duration::from_secs(4);
/// How long a drained worker lets its runs go on.
pub const DRAIN: Duration = Duration::from_secs(3);
/// The rest between two rounds of the relay is drawn below this.
pub const RELAY_EVERY_MS: std::ops::RangeInclusive<u64> = 100..=1_000;
pub const RECONCILE_EVERY: Duration = Duration::from_secs(3);
pub const SILENCE: Duration = Duration::from_secs(5);
pub const PROMOTE_EVERY: Duration = Duration::from_millis(250);

/// Chances of what may go wrong at one call, 0 to 1.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub store: Calls,
    pub slow: f64,
    pub queue: Calls,
    pub messages: Messages,
    pub ready: Calls,
    pub wakeups_lost: f64,
    pub locks: Calls,
    pub bus: Calls,
    pub signals_lost: f64,
}

/// Of one port.
#[derive(Debug, Clone, Copy, Default)]
pub struct Calls {
    /// Nothing is done, and the caller is told so.
    pub fail: f64,
    /// It is done, and the caller is told that it was not.
    pub lose_answer: f64,
}

/// Of one message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Messages {
    pub lost: f64,
    pub doubled: f64,
    pub late: f64,
    /// Of one call: all its messages in another order.
    pub shuffled: f64,
    /// Of one message: the broker says that it has it not.
    pub refused: f64,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub tenants: usize,
    pub workers: usize,
    pub jobs: usize,
    /// When the last job comes and the last fault happens.
    pub load: Duration,
    pub relay_every: Duration,
    pub faults: Faults,
    /// How often each of these happens during the load.
    pub kills: usize,
    pub freezes: usize,
    pub ambushes: usize,
    pub drains: usize,
    pub producer_kills: usize,
    pub broker_wipes: usize,
    pub ready_wipes: usize,
    pub steers: usize,
    pub tenant_changes: usize,
    pub queue_steers: usize,
    /// Of the jobs, how many ask for labels, wait for others, have a deadline, come later.
    pub labelled: f64,
    pub dependent: f64,
    pub deadlines: f64,
    pub delayed: f64,
    /// Runs that take no notice of being told to end.
    pub stubborn: f64,
    pub hanging: f64,
    pub failing: f64,
    pub transient: f64,
    /// All runs take so long and end well.
    pub length: Option<Duration>,
}

impl Plan {
    pub fn draw(rng: &mut Rng) -> Self {
        let calm = rng.u8(..8) == 0;
        let mut plan = Self {
            tenants: rng.usize(2..=4),
            workers: rng.usize(1..=4),
            jobs: rng.usize(8..=32),
            load: Duration::from_millis(rng.u64(3_000..=12_000)),
            relay_every: Duration::from_millis(rng.u64(RELAY_EVERY_MS)),
            faults: Faults::default(),
            kills: 0,
            freezes: 0,
            ambushes: 0,
            drains: rng.usize(0..=1),
            producer_kills: 0,
            broker_wipes: 0,
            ready_wipes: 0,
            steers: some(rng, 12),
            tenant_changes: some(rng, 6),
            queue_steers: some(rng, 5),
            labelled: sometimes(rng, 0.3),
            dependent: sometimes(rng, 0.5),
            deadlines: sometimes(rng, 0.3),
            delayed: sometimes(rng, 0.3),
            stubborn: 0.02,
            hanging: 0.03,
            failing: 0.05,
            transient: 0.15,
            length: None,
        };
        if !calm {
            plan.faults = Faults::draw(rng);
            plan.kills = some(rng, 3);
            plan.freezes = some(rng, 3);
            plan.ambushes = some(rng, 3);
            plan.producer_kills = some(rng, 2);
            plan.broker_wipes = some(rng, 2);
            plan.ready_wipes = some(rng, 2);
        }
        plan
    }

    /// True when nothing ever goes wrong, so that everything must go fast.
    pub const fn is_calm(&self) -> bool {
        self.faults.is_none()
            && self.kills == 0
            && self.freezes == 0
            && self.ambushes == 0
            && self.producer_kills == 0
            && self.broker_wipes == 0
            && self.ready_wipes == 0
    }
}

impl Faults {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            store: Calls::draw(rng),
            slow: chance(rng, 0.05),
            queue: Calls::draw(rng),
            messages: Messages {
                lost: chance(rng, 0.3),
                doubled: chance(rng, 0.3),
                late: chance(rng, 0.3),
                shuffled: chance(rng, 0.5),
                refused: chance(rng, 0.3),
            },
            ready: Calls::draw(rng),
            wakeups_lost: chance(rng, 0.5),
            locks: Calls::draw(rng),
            bus: Calls::draw(rng),
            signals_lost: chance(rng, 0.5),
        }
    }

    const fn is_none(&self) -> bool {
        self.store.is_none()
            && self.slow == 0.0
            && self.queue.is_none()
            && self.messages.is_none()
            && self.ready.is_none()
            && self.wakeups_lost == 0.0
            && self.locks.is_none()
            && self.bus.is_none()
            && self.signals_lost == 0.0
    }
}

impl Calls {
    fn draw(rng: &mut Rng) -> Self {
        let often = if rng.u8(..4) == 0 { 0.4 } else { 0.1 };
        Self {
            fail: chance(rng, often),
            lose_answer: chance(rng, often),
        }
    }

    const fn is_none(self) -> bool {
        self.fail == 0.0 && self.lose_answer == 0.0
    }
}

impl Messages {
    const fn is_none(self) -> bool {
        self.lost == 0.0
            && self.doubled == 0.0
            && self.late == 0.0
            && self.shuffled == 0.0
            && self.refused == 0.0
    }
}

/// Mostly nothing: a fault that comes alone is easier to understand, and finds more.
fn chance(rng: &mut Rng, max: f64) -> f64 {
    if rng.u8(..3) == 0 {
        rng.f64() * max
    } else {
        0.0
    }
}

fn sometimes(rng: &mut Rng, max: f64) -> f64 {
    if rng.bool() { rng.f64() * max } else { 0.0 }
}

fn some(rng: &mut Rng, max: usize) -> usize {
    if rng.bool() { rng.usize(1..=max) } else { 0 }
}
