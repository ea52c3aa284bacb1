//! What there is to see meanwhile: a bar a tenant on a terminal, a line a change elsewhere. Fed by the API alone.

use std::collections::HashMap;
use std::fmt::Write as _;

use domain::{JobId, JobState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::tenants::Submitted;
use crate::client::types::Job;
use crate::output;

pub enum Board {
    Bars {
        all: MultiProgress,
        bars: HashMap<&'static str, ProgressBar>,
    },
    Lines {
        seen: HashMap<JobId, (JobState, u32)>,
    },
}

impl Board {
    pub fn new(tenants: &[Submitted]) -> Self {
        if !output::is_lively() {
            return Self::Lines {
                seen: HashMap::new(),
            };
        }
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix:>7} {bar:24.green} {pos:>2}/{len} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bars = tenants
            .iter()
            .map(|tenant| {
                let length = u64::try_from(tenant.jobs.len()).unwrap_or(u64::MAX);
                let bar = all.add(ProgressBar::new(length));
                bar.set_style(style.clone());
                bar.set_prefix(tenant.slug);
                (tenant.slug, bar)
            })
            .collect();
        Self::Bars { all, bars }
    }

    pub fn update(&mut self, tenant: &Submitted, jobs: &[Job]) {
        match self {
            Self::Bars { bars, .. } => {
                if let Some(bar) = bars.get(tenant.slug) {
                    let ended = jobs.iter().filter(|job| job.status.is_finished()).count();
                    bar.set_position(u64::try_from(ended).unwrap_or(u64::MAX));
                    bar.set_message(now(tenant, jobs));
                }
            }
            Self::Lines { seen } => {
                for job in jobs {
                    let state = (job.status, job.attempt);
                    // That a job has been submitted is known; that it waits once more is news.
                    let is_new = job.status == JobState::Queued && job.attempt == 0;
                    if seen.insert(job.id, state) != Some(state) && !is_new {
                        output::say(line(tenant.slug, job));
                    }
                }
            }
        }
    }

    pub fn finish(self) {
        if let Self::Bars { all, bars } = self {
            for bar in bars.values() {
                bar.abandon();
            }
            drop(all);
        }
    }
}

/// `running 2 of 2, waiting 5: count public items 30 %, ...`
fn now(tenant: &Submitted, jobs: &[Job]) -> String {
    let in_state = |state: JobState| jobs.iter().filter(move |job| job.status == state);
    let running: Vec<String> = in_state(JobState::Running)
        .map(|job| {
            let fraction = job.progress.as_ref().and_then(|progress| progress.fraction);
            let percent = fraction.map(|fraction| format!(" {:.0} %", fraction * 100.0));
            format!("{}{}", job.title, percent.unwrap_or_default())
        })
        .collect();
    let waiting = in_state(JobState::Queued).count();
    format!(
        "quota {}, running {}, waiting {waiting}  {}",
        tenant.session_quota,
        running.len(),
        running.join(" | ")
    )
}

fn line(tenant: &str, job: &Job) -> String {
    let mut line = format!("{tenant:>7}  {:<10} {}", job.status.to_string(), job.title);
    if job.attempt > 1 {
        let _ = write!(line, " (attempt {})", job.attempt);
    }
    line
}
