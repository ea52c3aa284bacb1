//! Lives worlds by hand: `simulate --seed N --trace` shows one, `--seeds A..B` looks for one that breaks, `--fairness
//! A..B` for one in which shares do not follow weights.

use std::process::ExitCode;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use simulation::{Lab, Report, Tracing, run_all};

const USAGE: &str =
    "usage: simulate --seed N [--trace] | --seeds A..B [--threads T] | --fairness A..B";

enum Wish {
    One { seed: u64, trace: bool },
    Many { from: u64, to: u64, threads: usize },
    Fair { from: u64, to: u64 },
}

fn main() -> ExitCode {
    let done = wish(std::env::args().skip(1)).and_then(|wish| match wish {
        Wish::One { seed, trace } => one(seed, trace),
        Wish::Many { from, to, threads } => many(from, to, threads),
        Wish::Fair { from, to } => fair(from, to),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&error);
            ExitCode::from(2)
        }
    }
}

fn wish(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
    let (mut seed, mut trace, mut seeds, mut fairness) = (None, false, None, None);
    let mut threads = std::thread::available_parallelism().map_or(1, usize::from);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| USAGE.to_owned());
        match argument.as_str() {
            "--trace" => trace = true,
            "--seed" => seed = Some(number(&value()?)?),
            "--threads" => threads = usize::try_from(number(&value()?)?).unwrap_or(threads),
            "--seeds" => seeds = Some(range(&value()?)?),
            "--fairness" => fairness = Some(range(&value()?)?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    match (seed, seeds, fairness) {
        (Some(seed), None, None) => Ok(Wish::One { seed, trace }),
        (None, Some((from, to)), None) => Ok(Wish::Many { from, to, threads }),
        (None, None, Some((from, to))) => Ok(Wish::Fair { from, to }),
        _ => Err(USAGE.to_owned()),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number; {USAGE}"))
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or_else(|| USAGE.to_owned())?;
    Ok((number(from)?, number(to)?))
}

fn fair(from: u64, to: u64) -> Result<bool, String> {
    let lab = Lab::new()?;
    for seed in from..to {
        let report = lab.run_fairness(seed, Tracing::Kept)?;
        if report.broken.is_some() {
            tell(&report);
            return Ok(false);
        }
    }
    Ok(true)
}

fn one(seed: u64, trace: bool) -> Result<bool, String> {
    let tracing = if trace { Tracing::Shown } else { Tracing::Kept };
    let report = Lab::new()?.run(seed, tracing)?;
    tell(&report);
    Ok(report.broken.is_none())
}

fn many(from: u64, to: u64, threads: usize) -> Result<bool, String> {
    let bar = ProgressBar::new(to.saturating_sub(from));
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} worlds, {eta} left")
        .map_err(|error| error.to_string())?;
    bar.set_style(style);
    let began = Instant::now();
    let broken = run_all(from..to, threads, &|_: &Report| bar.inc(1))?;
    let lived = bar.position();
    bar.finish_and_clear();
    if let Some(report) = &broken {
        tell(report);
    }
    say(&format!(
        "{lived} worlds in {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    Ok(broken.is_none())
}

fn tell(report: &Report) {
    let Report {
        seed,
        hash,
        steps,
        lasted,
        ..
    } = report;
    if let Some(broken) = &report.broken {
        for line in &report.lines {
            say(line);
        }
        say(&format!("seed {seed} broke: {broken}"));
    }
    say(&format!(
        "seed {seed}: {steps} steps in {:.3} s of its time, hash {hash:016x}",
        lasted.as_secs_f64()
    ));
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn say(line: &str) {
    println!("{line}");
}
