//! One audit: every rule asked, and a table of counts for people.

use std::fmt::Write as _;

use super::Database;
use super::rules::{AT_ALL_TIMES, AT_THE_END, COUNTS, WORKERS_LEFT};
use crate::harness::{Acknowledged, Mark};

/// What the audit is told beside the store's tables.
pub struct What<'a> {
    pub acknowledged: &'a [Acknowledged],
    pub marks: &'a [Mark],
    /// How many worker processes live, where there are any.
    pub workers: Option<usize>,
}

pub struct Audit {
    counts: Vec<(&'static str, i64)>,
    rules: Vec<(&'static str, Vec<String>)>,
}

impl Audit {
    pub async fn run(database: &Database, what: &What<'_>) -> Self {
        database.tell(what).await;
        let mut counts = Vec::new();
        for (name, sql) in COUNTS {
            counts.push((*name, database.number(sql).await));
        }
        let mut rules = Vec::new();
        for rule in AT_THE_END.iter().chain(AT_ALL_TIMES) {
            let broken = database.broken(rule).await;
            let broken = broken.unwrap_or_else(|error| panic!("{}: {error:?}", rule.name));
            rules.push((rule.name, broken));
        }
        if let Some(workers) = what.workers {
            let rows = database.number("SELECT count(*) FROM workers").await;
            let differs = usize::try_from(rows) != Ok(workers);
            let told = format!("{WORKERS_LEFT}: {rows} are registered, {workers} live");
            rules.push((WORKERS_LEFT, differs.then_some(told).into_iter().collect()));
        }
        Self { counts, rules }
    }

    /// The names of the rules that are broken.
    pub fn broken(&self) -> Vec<&'static str> {
        let broken = self.rules.iter().filter(|(_, broken)| !broken.is_empty());
        broken.map(|(name, _)| *name).collect()
    }

    /// Empty when all is well.
    pub fn findings(&self) -> String {
        let mut text = String::new();
        for (name, broken) in &self.rules {
            const SHOWN: usize = 10;
            for what in broken.iter().take(SHOWN) {
                let _ = writeln!(text, "{what}");
            }
            if broken.len() > SHOWN {
                let _ = writeln!(text, "{name}: {} more", broken.len() - SHOWN);
            }
        }
        text
    }

    pub fn table(&self) -> String {
        let mut text = String::new();
        for (name, count) in &self.counts {
            let _ = writeln!(text, "  {name:<58}{count:>8}");
        }
        for (name, broken) in &self.rules {
            let verdict = if broken.is_empty() {
                "ok".to_owned()
            } else {
                format!("{} BROKEN", broken.len())
            };
            let _ = writeln!(text, "  {name:<58}{verdict:>8}");
        }
        text
    }
}
