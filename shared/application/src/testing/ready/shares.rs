//! Who gets how many worker-seconds in the long run: busy workers on an account of virtual time.

use domain::{SlotSnapshot, service_seconds};

use super::{Ready, note, queue_of, rebuilt, snapshot};
use crate::ports::{Found, Pick, Served, Visited};

const WORKERS: u32 = 8;

/// A tenant that always has jobs waiting.
struct Tenant {
    slots: SlotSnapshot,
    /// How long its jobs take, by turns.
    seconds: &'static [f64],
    begun: usize,
    /// Worker-seconds of its runs that have ended.
    had: f64,
}

struct Run {
    tenant: usize,
    began: f64,
    ends: f64,
    estimate: f64,
}

struct World {
    port: Ready,
    now: f64,
    tenants: Vec<Tenant>,
    runs: Vec<Run>,
}

impl World {
    async fn open(port: Ready, tenants: &[(u32, &'static [f64])]) -> Self {
        let tenants: Vec<Tenant> = (1_u128..)
            .zip(tenants)
            .map(|(id, (weight, seconds))| Tenant {
                slots: SlotSnapshot {
                    weight: *weight,
                    ..snapshot(id, 1, 1_000)
                },
                seconds,
                begun: 0,
                had: 0.0,
            })
            .collect();
        let slots: Vec<SlotSnapshot> = tenants.iter().map(|tenant| tenant.slots).collect();
        rebuilt(&port, &slots).await;
        Self {
            port,
            now: 0.0,
            tenants,
            runs: Vec::new(),
        }
    }

    /// All workers are busy until this time.
    async fn run_until(&mut self, end: f64) {
        while self.now < end {
            loop {
                let running = u32::try_from(self.runs.len()).expect("few runs");
                if running == WORKERS {
                    break;
                }
                self.begin(WORKERS - running).await;
            }
            self.end_next().await;
        }
    }

    /// A pick, a claim, its snapshot, and the end of the visit.
    async fn begin(&mut self, want: u32) {
        let picked = self.port.pick(super::SESSIONS, want).await.expect("pick");
        let Pick::Queue { queue, n, estimate } = picked else {
            panic!("{picked:?}, though all have jobs");
        };
        let found = Found::Something;
        let index = self.index_of(queue.tenant.as_uuid().as_u128());
        let tenant = &mut self.tenants[index];
        for _ in 0..n {
            let seconds = tenant.seconds[tenant.begun % tenant.seconds.len()];
            tenant.begun += 1;
            self.runs.push(Run {
                tenant: index,
                began: self.now,
                ends: self.now + seconds,
                estimate,
            });
        }
        tenant.slots.version += 1;
        tenant.slots.running += n;
        note(&self.port, tenant.slots).await;
        let visited = Visited {
            queue,
            n,
            claimed: n,
            estimate,
            found,
        };
        self.port.visited(visited).await.expect("visited");
    }

    /// The run that ends first: the correction, then the snapshot.
    async fn end_next(&mut self) {
        let next = (0..self.runs.len())
            .min_by(|a, b| self.runs[*a].ends.total_cmp(&self.runs[*b].ends))
            .expect("the workers are busy");
        let run = self.runs.swap_remove(next);
        self.now = run.ends;
        let seconds = run.ends - run.began;
        let tenant = &mut self.tenants[run.tenant];
        tenant.had += seconds;
        tenant.slots.version += 1;
        tenant.slots.running -= 1;
        tenant.slots.service_seconds = service_seconds(tenant.slots.service_seconds, 1, seconds);
        let served = Served {
            queue: tenant.slots.queue,
            beyond: seconds - run.estimate,
        };
        let slots = tenant.slots;
        self.port.served(&[served]).await.expect("served");
        note(&self.port, slots).await;
    }

    fn index_of(&self, tenant: u128) -> usize {
        self.tenants
            .iter()
            .position(|known| known.slots.queue == queue_of(tenant))
            .expect("a tenant of this world")
    }

    /// The parts of all worker-seconds so far, also of runs that have not ended.
    fn shares(&self) -> Vec<f64> {
        let mut had: Vec<f64> = self.tenants.iter().map(|tenant| tenant.had).collect();
        for run in &self.runs {
            had[run.tenant] += self.now - run.began;
        }
        let all: f64 = had.iter().sum();
        had.iter().map(|had| had / all).collect()
    }
}

fn assert_close(shares: &[f64], expected: &[f64], within: f64) {
    for (share, expected) in shares.iter().zip(expected) {
        assert!((share - expected).abs() < within, "{shares:?}");
    }
}

pub async fn long_and_short_jobs_get_the_same_worker_seconds(port: Ready) {
    let mut world = World::open(port, &[(1, &[40.0]), (1, &[2.0]), (1, &[5.0, 1.0, 9.0])]).await;
    world.run_until(1_200.0).await;
    let third = 1.0 / 3.0;
    // One long run is half a percent of it all.
    assert_close(&world.shares(), &[third, third, third], 0.03);
}

pub async fn weights_are_shares_of_worker_seconds(port: Ready) {
    let mut world = World::open(port, &[(3, &[40.0]), (1, &[2.0])]).await;
    world.run_until(1_200.0).await;
    assert_close(&world.shares(), &[0.75, 0.25], 0.03);
}
