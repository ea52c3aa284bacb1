//! The two ways in which results are shown: tables for people, and one JSON line for machines.

use std::io::Write as _;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::cli::Cli;
use crate::outcome::{Outcome, latency_value, rounded};
use crate::stats::median_index;

/// All rounds of a run.
pub struct Report<'a> {
    pub cli: &'a Cli,
    pub load_at_start: Option<[f64; 3]>,
    pub rounds: Vec<Outcome>,
    /// What the machine does by itself, where that was asked for.
    pub floor: Option<Outcome>,
}

impl Report<'_> {
    /// The round that is shown: the median by what the scenario is about, or the first where that is no one number.
    fn shown(&self) -> Option<&Outcome> {
        self.rounds
            .get(median_index(&self.headlines()).unwrap_or(0))
    }

    /// Of each round its rate or, where no rate is measured, its middle latency. None where a scenario is about neither.
    fn headlines(&self) -> Vec<f64> {
        let headline = |it: &Outcome| it.rate.or(it.latency.map(|it| it.p50));
        self.rounds.iter().filter_map(headline).collect()
    }

    /// What [`Self::headlines`] are.
    fn headline_of(&self) -> &'static str {
        let has_rate = self.rounds.first().is_some_and(|it| it.rate.is_some());
        if has_rate { "jobs/s" } else { "p50 ms" }
    }

    /// The largest of the rounds over the smallest.
    fn spread(&self) -> f64 {
        let headlines = self.headlines();
        let largest = headlines.iter().copied().fold(0.0, f64::max);
        let smallest = headlines.iter().copied().fold(f64::INFINITY, f64::min);
        if smallest > 0.0 {
            largest / smallest
        } else {
            1.0
        }
    }

    pub fn faults(&self) -> Vec<&str> {
        let faults = self.rounds.iter().flat_map(|it| &it.faults);
        faults.map(String::as_str).collect()
    }

    /// The rate against each of the floor's rates.
    fn against_floor(&self) -> Vec<(String, f64)> {
        let rate = self.shown().and_then(|it| it.rate);
        let (Some(rate), Some(floor)) = (rate, &self.floor) else {
            return Vec::new();
        };
        let numbers = floor.figures.iter().filter_map(|(name, value)| {
            Some((
                name.clone(),
                value.as_f64().filter(|_| name.ends_with("_s"))?,
            ))
        });
        numbers
            .filter(|(_, floor)| *floor > 0.0)
            .map(|(name, floor)| (name, rate / floor))
            .collect()
    }

    pub fn json(&self) -> Value {
        let Some(shown) = self.shown() else {
            return Value::Null;
        };
        let cli = self.cli;
        let ratios = self.against_floor().into_iter();
        let ratios = ratios.map(|(name, ratio)| (name, rounded(ratio.into())));
        let ratios: serde_json::Map<String, Value> = ratios.collect();
        json!({
            "scenario": cli.scenario.as_str(),
            "settings": {
                "backend": cli.backend.as_str(), "jobs": cli.jobs(), "tenants": cli.tenants(),
                "workers": cli.workers, "concurrency": cli.concurrency(), "connections": cli.connections(),
                "rate": cli.rate(), "seconds": cli.seconds, "rounds": cli.rounds,
            },
            "jobs": shown.jobs,
            "rate": shown.rate.map(|rate| rounded(rate.into())),
            "rate_of": shown.rate_of,
            "rounds": {
                "of": self.headline_of(), "largest_by_smallest": rounded(self.spread().into()),
                "values": self.headlines().into_iter().map(|it| rounded(it.into())).collect::<Vec<_>>(),
            },
            "latency": shown.latency.map(latency_value),
            "latency_of": shown.latency_of,
            "cpu_micros_a_job": rounded(shown.usage.cpu_micros_a_job.into()),
            "processes": shown.usage.processes.iter().map(|it| json!({
                "name": it.name, "cpu_ms": rounded(it.cpu_ms.into()), "share": rounded(it.share.into()),
                "cpu_micros_a_job": rounded(it.cpu_micros_a_job.into()),
                "peak_rss_mib": rounded(it.peak_rss_mib.into()),
            })).collect::<Vec<_>>(),
            "generator_cpu_ms": rounded(shown.usage.generator_cpu_ms.into()),
            "figures": shown.figures_object(),
            "floor": self.floor.as_ref().map(Outcome::figures_object),
            "rate_against_floor": ratios,
            "load_average_at_start": self.load_at_start,
            "faults": self.faults(),
        })
    }

    pub fn tables(&self) -> String {
        let Some(shown) = self.shown() else {
            return String::new();
        };
        let mut parts = vec![self.main_table(shown).to_string()];
        if !shown.usage.processes.is_empty() {
            parts.push(processes(shown).to_string());
        }
        if let Some(floor) = &self.floor {
            let mut table = table(&["floor of this machine", "value", "this run / floor"]);
            let ratios = self.against_floor();
            for (name, value) in &floor.figures {
                let ratio = ratios.iter().find(|(other, _)| other == name);
                let ratio = ratio.map_or_else(String::new, |(_, ratio)| format!("{ratio:.3}"));
                table.add_row([name.clone(), text(value), ratio]);
            }
            parts.push(table.to_string());
        }
        for fault in self.faults() {
            parts.push(format!("FAULT: {fault}"));
        }
        parts.join("\n\n")
    }

    fn main_table(&self, shown: &Outcome) -> Table {
        let cli = self.cli;
        let mut table = table(&[cli.scenario.as_str(), cli.backend.as_str()]);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        if shown.jobs > 0 {
            row("jobs", shown.jobs.to_string());
        }
        if let Some(rate) = shown.rate {
            row(&format!("jobs/s, {}", shown.rate_of), format!("{rate:.0}"));
        }
        if self.rounds.len() > 1 {
            let values: Vec<_> = self
                .headlines()
                .iter()
                .map(|it| format!("{it:.1}"))
                .collect();
            let (of, spread) = (self.headline_of(), self.spread());
            row(&format!("{of} of the rounds"), values.join(", "));
            row("largest round / smallest", format!("{spread:.2}"));
        }
        if let Some(latency) = shown.latency {
            row(
                &format!("ms, {}", shown.latency_of),
                text(&latency_value(latency)),
            );
        }
        if !shown.usage.processes.is_empty() && shown.jobs > 0 {
            let cpu = shown.usage.cpu_micros_a_job;
            row("CPU a job, all processes", format!("{cpu:.0} us"));
            let generator = shown.usage.generator_cpu_ms;
            row(
                "CPU of the load generator",
                format!("{generator:.0} ms, not counted above"),
            );
        }
        for (name, value) in &shown.figures {
            row(name, text(value));
        }
        if let Some([one, five, fifteen]) = self.load_at_start {
            row("load average at start", format!("{one} {five} {fifteen}"));
        }
        table
    }
}

fn processes(shown: &Outcome) -> Table {
    let mut table = table(&["process", "CPU ms", "share", "us a job", "peak RSS MiB"]);
    for it in &shown.usage.processes {
        table.add_row([
            it.name.clone(),
            format!("{:.0}", it.cpu_ms),
            format!("{:.0} %", it.share * 100.0),
            format!("{:.0}", it.cpu_micros_a_job),
            format!("{:.1}", it.peak_rss_mib),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// A value as people read it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(latency) if latency.contains_key("p50_ms") => {
            let named = ["p50", "p90", "p99", "max"].map(|name| {
                let value = &latency[&format!("{name}_ms")];
                format!("{name} {value}")
            });
            named.join("  ")
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{name} {}", text(value)));
            members.collect::<Vec<_>>().join("  ")
        }
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

/// One text on standard output.
pub fn print(text: &str) {
    // Whoever closed the pipe does not want to read on.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A word to the person who looks on.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
