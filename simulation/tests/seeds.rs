//! Thousands of worlds. One that breaks says its seed, which lives it again: `simulate --seed N --trace`.

use simulation::{Lab, Report, Tracing, run_all};

/// How many worlds a usual test run lives; `SIMULATION_SEEDS` says otherwise, also as a range `A..B`.
const SEEDS: u64 = 2_000;
/// Each lived twice.
const TWICE: u64 = 100;
const FAIR: u64 = 60;

#[expect(
    clippy::disallowed_methods,
    reason = "how much is tested is the tester's choice"
)]
fn seeds() -> std::ops::Range<u64> {
    let Ok(wish) = std::env::var("SIMULATION_SEEDS") else {
        return 0..SEEDS;
    };
    let number = |text: &str| text.parse::<u64>().expect("SIMULATION_SEEDS is N or A..B");
    match wish.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&wish),
    }
}

fn explain(report: &Report) -> String {
    let Report {
        seed,
        lasted,
        lines,
        broken,
        ..
    } = report;
    let broken = broken
        .as_ref()
        .map_or_else(String::new, ToString::to_string);
    let lines = lines.join("\n");
    format!(
        "{lines}\n\nseed {seed} broke after {:.3} s of its time: {broken}\n\
         live it again with: cargo run -p simulation --bin simulate -- --seed {seed} --trace",
        lasted.as_secs_f64()
    )
}

#[test]
fn no_world_breaks_a_rule() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let broken = run_all(seeds(), cores, &|_: &Report| {}).unwrap();
    if let Some(report) = broken {
        panic!("{}", explain(&report));
    }
}

#[test]
fn a_seed_lived_twice_is_the_same_world() {
    let (one, other) = (Lab::new().unwrap(), Lab::new().unwrap());
    for seed in 0..TWICE {
        let first = one.run(seed, Tracing::Off).unwrap();
        // Another store, another history, and somebody who looks on.
        let again = other.run(seed, Tracing::Kept).unwrap();
        assert_eq!(
            (first.hash, first.steps, first.lasted),
            (again.hash, again.steps, again.lasted),
            "seed {seed}"
        );
    }
}

#[test]
fn shares_of_the_busy_follow_their_weights() {
    let lab = Lab::new().unwrap();
    for seed in 0..FAIR {
        let report = lab.run_fairness(seed, Tracing::Kept).unwrap();
        assert!(report.broken.is_none(), "{}", explain(&report));
    }
}
