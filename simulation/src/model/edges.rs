//! The rules of those who wait for others: an edge stands while its job waits, and tells of every end.

use uuid::Uuid;

use domain::JobState;

use super::rows::Says;
use super::{Broken, Model, rule};

/// A prerequisite, and who waits for it.
pub type Edge = (Uuid, Uuid);

impl Model {
    pub(super) fn take_edge(&mut self, waiting: Uuid, says: &Says<'_>) {
        self.touched.insert(waiting);
        let met = says.maybe(1).map(|met| met != 0);
        self.edges
            .insert((says.id(0).unwrap_or_default(), waiting), met);
    }

    pub(super) fn take_told(&mut self, waiting: Uuid, says: &Says<'_>) {
        self.touched.insert(waiting);
        self.edges
            .remove(&(says.id(0).unwrap_or_default(), waiting));
    }

    /// Between transactions.
    pub(super) fn settled_edges(&mut self) -> Result<(), Broken> {
        for ((prerequisite, waiting), met) in &self.edges {
            if !self.touched.contains(prerequisite) && !self.touched.contains(waiting) {
                continue;
            }
            let how = || format!("{waiting} waits for {prerequisite}");
            let still = self.jobs.get(waiting).map(|job| job.state);
            rule(
                still == Some(JobState::Pending),
                "who waits no longer is forgotten",
                how,
            )?;
            let Some(job) = self.jobs.get(prerequisite) else {
                return Err(Broken::new("who is waited for is there", how()));
            };
            // One that is retried after a bad end stays so for those who were told of it.
            let told = match met {
                Some(true) => job.ended_well(),
                Some(false) => job.bad_ends > 0,
                None => !job.state.is_finished(),
            };
            rule(told, "an end is told to those who wait for it", how)?;
        }
        Ok(())
    }

    /// What became of those whom a pending job waits for decides it: some ended badly, or all well.
    pub fn is_decided(&self, id: Uuid) -> bool {
        let Some(job) = self.jobs.get(&id) else {
            return false;
        };
        let waits_for = &job.wishes.depends_on;
        if job.state != JobState::Pending || waits_for.is_empty() {
            return false;
        }
        let mut prerequisites = waits_for.iter().filter_map(|id| self.jobs.get(id));
        let badly = |job: &super::JobRow| job.state.is_finished() && !job.ended_well();
        prerequisites.clone().any(badly) || prerequisites.all(super::JobRow::ended_well)
    }
}
