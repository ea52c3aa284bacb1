//! The rules of a queue: what its slots count, and that its quota holds.

use domain::{JobState, Timestamp};
use uuid::Uuid;

use super::rows::Says;
use super::{Broken, Call, Model};

/// A tenant and a kind.
pub type Queue = (Uuid, String);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotsRow {
    pub quota: i64,
    pub counts: Counts,
    pub paused: bool,
    pub version: i64,
    /// What ran after the call before.
    ran: i64,
    /// Since when something could start and does not.
    pub starving: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub running: i64,
    pub pending: i64,
    pub queued: i64,
    pub published: i64,
}

impl Model {
    pub(super) fn take_slots(&mut self, tenant: Uuid, says: &Says<'_>) -> Result<(), Broken> {
        let queue = (tenant, says.text(0).to_owned());
        let row = self.slots.entry(queue).or_default();
        let before = row.version;
        row.quota = says.number(1);
        row.counts = Counts {
            running: says.number(2),
            pending: says.number(3),
            queued: says.number(4),
            published: says.number(5),
        };
        row.paused = says.number(6) != 0;
        row.version = says.number(7);
        if row.version > before {
            return Ok(());
        }
        let how = format!("{} after {before}", says.number(7));
        Err(Broken::new("a change of slots raises their version", how))
    }

    /// Between transactions: the counts are those of the jobs, and nothing started beyond the quota.
    pub(super) fn settled_slots(&mut self, call: &Call<'_>) -> Result<(), Broken> {
        let Self { jobs, slots, .. } = self;
        for ((tenant, kind), row) in slots.iter_mut() {
            let mut counted = Counts::default();
            let ours = jobs
                .values()
                .filter(|job| job.tenant == *tenant && job.kind == *kind);
            for job in ours {
                match job.state {
                    JobState::Running | JobState::Degraded => counted.running += 1,
                    JobState::Pending => counted.pending += 1,
                    JobState::Queued => {
                        counted.queued += 1;
                        counted.published += i64::from(job.published);
                    }
                    _ => {}
                }
            }
            let how = || {
                format!(
                    "{kind} of {tenant} after {}: {:?}, but {counted:?}",
                    call.name, row.counts
                )
            };
            if counted != row.counts {
                return Err(Broken::new("slots count what the jobs are", how()));
            }
            let (ran, runs) = (row.ran, counted.running);
            row.ran = runs;
            if runs > ran && runs > row.quota {
                let how = format!("{kind} of {tenant}: {runs} run, the quota is {}", row.quota);
                return Err(Broken::new("no more run than the quota allows", how));
            }
        }
        Ok(())
    }
}
