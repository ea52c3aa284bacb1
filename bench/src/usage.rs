//! What the processes involved cost while something was measured: CPU and peak memory of each, the load generator's
//! own apart.

use std::collections::HashMap;

use serde::Serialize;

use crate::proc;
use crate::stats::{millis, ratio};

/// A process of the product or of a server, with all that it starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Watched {
    pub name: String,
    pub pid: u32,
}

/// Of one watched process, over the measured time.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessUsage {
    pub name: String,
    pub cpu_ms: f64,
    /// Of all CPU that counts.
    pub share: f64,
    pub cpu_micros_a_job: f64,
    /// Of the largest process of the tree, in MiB.
    pub peak_rss_mib: f64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Usage {
    pub cpu_micros_a_job: f64,
    pub processes: Vec<ProcessUsage>,
    /// The load generator is not part of the product's cost.
    pub generator_cpu_ms: f64,
}

/// The state at the beginning of what is measured.
pub struct Meter {
    before: HashMap<Watched, u64>,
    generator: u64,
}

impl Meter {
    /// Processes that are started later count from their start.
    pub fn start(watched: &[Watched]) -> Self {
        for one in watched {
            for (pid, _) in proc::tree(one.pid) {
                proc::reset_peak(pid);
            }
        }
        Self {
            before: watched
                .iter()
                .map(|one| (one.clone(), cpu_of_tree(one.pid)))
                .collect(),
            generator: own_cpu(),
        }
    }

    /// What the processes that are there now have used since.
    pub fn stop(self, watched: &[Watched], jobs: u64) -> Usage {
        let mut costs: Vec<(&Watched, u64)> = watched
            .iter()
            .map(|one| {
                let before = self.before.get(one).copied().unwrap_or_default();
                (one, cpu_of_tree(one.pid).saturating_sub(before))
            })
            .collect();
        costs.sort_by_key(|(_, micros)| std::cmp::Reverse(*micros));
        let total: u64 = costs.iter().map(|(_, micros)| micros).sum();
        let processes = costs.into_iter().map(|(one, micros)| ProcessUsage {
            name: one.name.clone(),
            cpu_ms: millis(micros),
            share: ratio(micros, total),
            cpu_micros_a_job: ratio(micros, jobs),
            peak_rss_mib: ratio(peak_of_tree(one.pid), 1024),
        });
        Usage {
            cpu_micros_a_job: ratio(total, jobs),
            processes: processes.collect(),
            generator_cpu_ms: millis(own_cpu().saturating_sub(self.generator)),
        }
    }
}

pub fn cpu_of_tree(root: u32) -> u64 {
    proc::tree(root).iter().map(|(_, micros)| micros).sum()
}

fn peak_of_tree(root: u32) -> u64 {
    let peaks = proc::tree(root)
        .into_iter()
        .filter_map(|(pid, _)| proc::status_kib(pid, "VmHWM"));
    peaks.max().unwrap_or_default()
}

/// Without children: those are the product's processes.
fn own_cpu() -> u64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    let Ok(usage) = usage else { return 0 };
    let micros = |time: nix::sys::time::TimeVal| {
        u64::try_from(time.tv_sec()).unwrap_or_default() * 1_000_000
            + u64::try_from(time.tv_usec()).unwrap_or_default()
    };
    micros(usage.user_time()) + micros(usage.system_time())
}
