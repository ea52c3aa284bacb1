//! What the benchmark can be asked for.

use clap::{Parser, ValueEnum};

/// Measure the product from outside: the real program, the real servers, durability as shipped
///
/// Each run makes an installation of its own (a database, names in RabbitMQ and Redis, a data folder, free ports) and
/// removes it. The services are found at `DATABASE_URL`, `AMQP_URL` and `REDIS_URL` and must run on this machine, so that
/// their CPU can be counted. The program is the one beside this one, or `ORCHESTRATOR_BIN`.
///
/// The last line of standard output is one JSON document with all figures. Exit code 1 when a job was lost, failed or
/// run twice, 2 when the benchmark itself could not be done.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "bench",
    version,
    after_help = "\
Examples:
  cargo build --release -p orchestrator -p bench
  cargo run --release -p bench -- drain --backend services --jobs 50000
  cargo run --release -p bench -- drain --backend embedded --jobs 20000 --with-floor --rounds 3
  cargo run --release -p bench -- submit --backend services --jobs 20000 --connections 64
  cargo run --release -p bench -- fairness --backend services --jobs 1000000 --seconds 120
  cargo run --release -p bench -- wide --backend services --tenants 10000
  cargo run --release -p bench -- inflight --backend services --jobs 10000 --seconds 60
  cargo run --release -p bench -- steady --backend services --rate 200 --seconds 300
  cargo run --release -p bench -- floor --backend services --json"
)]
pub struct Cli {
    /// What to measure
    #[arg(value_enum)]
    pub scenario: Scenario,

    /// Which mode of the product
    #[arg(long, value_enum, default_value_t = Backend::Embedded)]
    pub backend: Backend,

    /// Jobs in all; for `fairness` the depth of the flood, for `inflight` the sessions held at once [default: by scenario]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub jobs: Option<u64>,

    /// Tenants that the jobs are spread over [default: 1; 10,000 for `wide`, 4 for `limits`]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub tenants: Option<u64>,

    /// Worker processes (services only; `dev` is its own worker)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,

    /// Jobs at once in each worker [default: 200; all of them for `inflight`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: Option<u32>,

    /// Keep-alive connections of the load generator [default: 64; 4 for bulk requests]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: Option<u32>,

    /// Jobs a second: of all tenants for `steady`, of the quiet tenant for `fairness` [default: 100; 1]
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,

    /// How long the timed phases of `fairness`, `inflight` and `steady` take
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,

    /// Measure several times, each with a fresh installation; the median round by rate is shown, and the spread
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,

    /// Measure the machine's own limits in the same run, and show the ratio to them
    #[arg(long)]
    pub with_floor: bool,

    /// Print the JSON line only
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// One `dev` process: SQLite, everything in process
    Embedded,
    /// `producer` and `worker` processes on PostgreSQL, RabbitMQ and Redis
    Services,
}

impl Backend {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Services => "services",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Single submissions over keep-alive connections, no worker: rate and latency
    Submit,
    /// Bulk submissions of 1,000, no worker: rate, and latency of a request
    Bulk,
    /// A backlog is worked off: rate from the first claim to the last end
    Drain,
    /// Submit and work off at once: rate from the first submit to the last end
    E2e,
    /// Submit to start on an idle system, one job at a time
    Idle,
    /// A quiet tenant beside a deep backlog: its wait against its wait alone
    Fairness,
    /// Many tenants with one job each
    Wide,
    /// Many sessions held at once by one worker: memory, CPU, lease renewals
    Inflight,
    /// The rate under quotas that bind, against the rate under quotas far away
    Limits,
    /// A fixed rate: latency and memory over time
    Steady,
    /// What the machine and its servers do by themselves
    Floor,
}

impl Scenario {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Bulk => "bulk",
            Self::Drain => "drain",
            Self::E2e => "e2e",
            Self::Idle => "idle",
            Self::Fairness => "fairness",
            Self::Wide => "wide",
            Self::Inflight => "inflight",
            Self::Limits => "limits",
            Self::Steady => "steady",
            Self::Floor => "floor",
        }
    }
}

impl Cli {
    /// How many jobs, where nothing was said.
    pub fn jobs(&self) -> u64 {
        self.jobs.unwrap_or(match self.scenario {
            Scenario::Submit | Scenario::E2e | Scenario::Limits => 20_000,
            Scenario::Bulk | Scenario::Fairness => 100_000,
            Scenario::Drain => 50_000,
            Scenario::Idle => 200,
            Scenario::Wide => self.tenants(),
            Scenario::Inflight => 10_000,
            Scenario::Steady | Scenario::Floor => 0,
        })
    }

    pub fn tenants(&self) -> u64 {
        self.tenants.unwrap_or(match self.scenario {
            Scenario::Wide => 10_000,
            Scenario::Limits => 4,
            _ => 1,
        })
    }

    pub fn connections(&self) -> u32 {
        self.connections.unwrap_or(match self.scenario {
            Scenario::Submit | Scenario::E2e | Scenario::Wide | Scenario::Steady => 64,
            Scenario::Bulk
            | Scenario::Drain
            | Scenario::Limits
            | Scenario::Fairness
            | Scenario::Inflight => 4,
            Scenario::Idle | Scenario::Floor => 1,
        })
    }

    /// Jobs a second where the scenario has a fixed rate, never nothing.
    pub fn rate(&self) -> Option<f64> {
        const SLOWEST: f64 = 0.01;
        let usual = match self.scenario {
            Scenario::Steady => 100.0,
            Scenario::Fairness => 1.0,
            _ => return None,
        };
        Some(self.rate.unwrap_or(usual).max(SLOWEST))
    }

    pub fn concurrency(&self) -> u32 {
        self.concurrency.unwrap_or(match self.scenario {
            Scenario::Inflight => u32::try_from(self.jobs()).unwrap_or(u32::MAX).min(100_000),
            // Runs of no length: as many as fill a transaction of claims and one of ends.
            Scenario::Drain | Scenario::Limits => 500,
            _ => 200,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["bench", "wide", "--tenants", "300"]).unwrap();
        assert_eq!((cli.jobs(), cli.concurrency()), (300, 200));
        let cli = Cli::try_parse_from(["bench", "inflight", "--jobs", "5000"]).unwrap();
        assert_eq!(cli.concurrency(), 5_000);
    }
}
