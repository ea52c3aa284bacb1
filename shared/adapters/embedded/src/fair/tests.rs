use domain::{JobKind, QueueKey};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn queue(tenant: u128) -> QueueKey {
    QueueKey {
        tenant: TenantId::from_uuid(Uuid::from_u128(tenant)),
        kind: JobKind::Session,
    }
}

fn snapshot(tenant: u128, version: i64, queued: u32) -> SlotSnapshot {
    SlotSnapshot {
        queue: queue(tenant),
        version,
        weight: 1,
        quota: 1_000_000,
        running: 0,
        queued,
        due: queued,
        published: queued,
        paused: false,
        service_seconds: 1.0,
    }
}

fn claimed(tenant: TenantId, n: u32, claimed: u32, estimate: f64) -> Visited {
    Visited {
        queue: QueueKey {
            tenant,
            kind: JobKind::Session,
        },
        n,
        claimed,
        estimate,
        found: Found::Something,
    }
}

/// One job of this tenant is picked and ends, after which it is idle.
fn comes_and_goes(set: &mut FairSet, tenant: u128) {
    set.note(&snapshot(tenant, 1, 1));
    let (picked, n, estimate) = set.pick(1).unwrap();
    assert_eq!(picked, queue(tenant).tenant);
    set.note(&snapshot(tenant, 2, 0));
    set.visited(&claimed(picked, n, n, estimate));
}

#[test]
fn idle_queues_take_no_memory_once_the_present_has_caught_up() {
    let mut set = FairSet::default();
    set.note(&snapshot(1_001, 1, 10));
    for tenant in 1..=1_000 {
        comes_and_goes(&mut set, tenant);
    }
    assert_eq!(set.idle.len(), 1_000);
    // The first pick of tenant 1,001 starts at 0, its second at 1, where the others have ended.
    set.pick(1);
    set.pick(1);
    assert_eq!(set.hints.len(), 1);
    assert!(set.idle.is_empty());
}

#[test]
fn idle_queues_take_no_memory_when_all_are_idle() {
    let mut set = FairSet::default();
    set.note(&snapshot(1_001, 1, 1));
    for tenant in 1..=1_000 {
        comes_and_goes(&mut set, tenant);
    }
    // The last busy one ends too, and the next pick finds nobody ahead of it.
    set.note(&snapshot(1_001, 2, 0));
    set.note(&snapshot(1_002, 1, 10));
    set.pick(1);
    assert_eq!(set.hints.len(), 1);
    assert!(set.idle.is_empty());
}

#[test]
fn an_idle_queue_that_is_ahead_is_remembered() {
    let mut set = FairSet::default();
    set.note(&snapshot(1, 1, 50));
    set.note(&snapshot(2, 1, 50));
    let (picked, n, estimate) = set.pick(40).unwrap();
    assert_eq!(n, 40);
    set.visited(&claimed(picked, n, n, estimate));
    set.note(&snapshot(1, 2, 0));
    set.note(&snapshot(1, 3, 50));
    // Tenant 1 has had 40 more than its share: the next 40 are tenant 2's.
    for _ in 0..40 {
        assert_eq!(set.pick(1).unwrap().0, queue(2).tenant);
    }
    assert_eq!(set.pick(1).unwrap().0, queue(1).tenant);
}

/// What happens to queues that always have jobs and slots.
#[derive(Debug, Clone)]
enum Step {
    /// Of that many jobs, this part of 100 is claimed.
    Pick { want: u32, claimed_percent: u32 },
    /// Some run ends after this many seconds, and this is what the next ones are expected to take.
    End {
        run: prop::sample::Index,
        seconds: f64,
        expected: f64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // From a moment to an hour, each size as likely.
    let seconds = || (-3.0..3.6_f64).prop_map(|exponent| 10_f64.powf(exponent));
    let pick = (1..=PICK_MAX, 0..=100_u32).prop_map(|(want, claimed_percent)| Step::Pick {
        want,
        claimed_percent,
    });
    let end = (any::<prop::sample::Index>(), seconds(), seconds()).prop_map(
        |(run, seconds, expected)| Step::End {
            run,
            seconds,
            expected,
        },
    );
    prop::collection::vec(prop_oneof![1 => pick, 4 => end], 1..300)
}

/// The queues, and what is known of them without asking the set.
struct Backlogged {
    set: FairSet,
    weights: Vec<u32>,
    versions: i64,
    /// Runs out: the queue and what was charged.
    runs: Vec<(usize, f64)>,
    /// Per queue, over its weight: what it has had, and what its corrections since its latest pick were at most.
    had: Vec<f64>,
    corrected: Vec<f64>,
    largest_charge: f64,
    largest_correction: f64,
}

impl Backlogged {
    fn new(weights: Vec<u32>) -> Self {
        let mut backlogged = Self {
            set: FairSet::default(),
            versions: 0,
            runs: Vec::new(),
            had: vec![0.0; weights.len()],
            corrected: vec![0.0; weights.len()],
            largest_charge: 0.0,
            largest_correction: 0.0,
            weights,
        };
        for index in 0..backlogged.weights.len() {
            backlogged.note(index, 1.0);
        }
        backlogged
    }

    fn note(&mut self, index: usize, expected: f64) {
        self.versions += 1;
        self.set.note(&SlotSnapshot {
            weight: self.weights[index],
            service_seconds: expected,
            ..snapshot(index as u128, self.versions, 1_000_000)
        });
    }

    fn weight(&self, index: usize) -> f64 {
        f64::from(self.weights[index])
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Pick {
                want,
                claimed_percent,
            } => self.pick(*want, *claimed_percent),
            Step::End {
                run,
                seconds,
                expected,
            } if !self.runs.is_empty() => {
                let run = run.index(self.runs.len());
                self.end(run, *seconds, *expected);
            }
            Step::End { .. } => {}
        }
    }

    fn pick(&mut self, want: u32, claimed_percent: u32) {
        let (tenant, n, estimate) = self.set.pick(want).expect("all have jobs");
        let index = usize::try_from(tenant.as_uuid().as_u128()).expect("a small number");
        self.largest_charge = self
            .largest_charge
            .max(f64::from(n) * estimate / self.weight(index));
        self.corrected[index] = 0.0;
        let taken = n * claimed_percent / 100;
        self.set.visited(&claimed(tenant, n, taken, estimate));
        self.had[index] += f64::from(taken) * estimate / self.weight(index);
        self.runs.extend((0..taken).map(|_| (index, estimate)));
    }

    fn end(&mut self, run: usize, seconds: f64, expected: f64) {
        let (index, charged) = self.runs.swap_remove(run);
        let beyond = seconds - charged;
        self.set.served(&Served {
            queue: queue(index as u128),
            beyond,
        });
        self.note(index, expected);
        self.had[index] += beyond / self.weight(index);
        self.corrected[index] += beyond.max(0.0) / self.weight(index);
        self.largest_correction = self.largest_correction.max(self.corrected[index]);
    }

    fn virtual_times(&self) -> Vec<f64> {
        let time = |index: usize| self.set.hints[&queue(index as u128).tenant].virtual_time.0;
        (0..self.weights.len()).map(time).collect()
    }
}

/// For sums of a few thousand numbers of up to a million.
const ROUNDING: f64 = 1e-6;

proptest! {
    #[test]
    fn backlogged_queues_are_never_far_apart(
        weights in prop::collection::vec(1..=10_u32, 2..6),
        steps in steps(),
    ) {
        let mut queues = Backlogged::new(weights);
        for step in &steps {
            queues.step(step);
            let times = queues.virtual_times();
            let first = times.iter().copied().fold(f64::INFINITY, f64::min);
            let last = times.iter().copied().fold(0.0, f64::max);
            let bound = queues.largest_charge + queues.largest_correction;
            prop_assert!(last - first <= bound + ROUNDING, "{times:?} are further apart than {bound}");
            // Nobody is behind the present, so a newcomer, who joins there, is next or the one after.
            prop_assert!(first >= queues.set.present.0, "{times:?} before {:?}", queues.set.present);
            // Nobody is charged less than it has had.
            for (time, had) in times.iter().zip(&queues.had) {
                prop_assert!(time + ROUNDING >= *had, "{times:?} for {:?}", queues.had);
            }
        }
    }

    #[test]
    fn what_backlogged_queues_had_is_never_far_apart_when_runs_take_no_less_than_charged(
        weights in prop::collection::vec(1..=10_u32, 2..6),
        steps in steps(),
    ) {
        let mut queues = Backlogged::new(weights);
        for mut step in steps {
            match &mut step {
                Step::Pick { claimed_percent, .. } => *claimed_percent = 100,
                Step::End { seconds, expected, .. } => {
                    *seconds += 1.0;
                    *expected = expected.min(1.0);
                }
            }
            queues.step(&step);
            let most = queues.had.iter().copied().fold(0.0, f64::max);
            let least = queues.had.iter().copied().fold(f64::INFINITY, f64::min);
            let bound = queues.largest_charge + queues.largest_correction;
            prop_assert!(most - least <= bound + ROUNDING, "{:?} differ by more than {bound}", queues.had);
        }
    }
}
