//! The runs that this worker holds, and the way to tell each of them that it must end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use application::ports::Interruption;
use domain::JobId;
use tokio::sync::watch;

#[derive(Clone, Default)]
pub(crate) struct Running {
    /// In the order of their ids: who is told first does not depend on chance.
    runs: Arc<Mutex<BTreeMap<JobId, watch::Sender<Option<Interruption>>>>>,
}

/// Takes the run off the list when dropped; not a later run of the same job, which may begin before this one has gone.
pub(crate) struct Entry {
    job: JobId,
    running: Running,
    interruption: watch::Receiver<Option<Interruption>>,
}

impl Running {
    pub fn enter(&self, job: JobId) -> Entry {
        let (sender, interruption) = watch::channel(None);
        self.lock().insert(job, sender);
        Entry {
            job,
            running: self.clone(),
            interruption,
        }
    }

    /// Tells one run to end. The first reason stays, except that a lost lease overrules all.
    pub fn interrupt(&self, job: JobId, why: Interruption) {
        if let Some(run) = self.lock().get(&job) {
            tell(run, why);
        }
    }

    pub fn has(&self, job: JobId) -> bool {
        self.lock().contains_key(&job)
    }

    pub fn interrupt_all(&self, why: Interruption) {
        for run in self.lock().values() {
            tell(run, why);
        }
    }

    /// Nothing here is ours any more.
    pub fn end_all(&self) {
        self.interrupt_all(Interruption::LeaseLost);
    }

    fn lock(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<JobId, watch::Sender<Option<Interruption>>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(run: &watch::Sender<Option<Interruption>>, why: Interruption) {
    run.send_if_modified(|told| {
        let changes = told.is_none()
            || (why == Interruption::LeaseLost && *told != Some(Interruption::LeaseLost));
        if changes {
            *told = Some(why);
        }
        changes
    });
}

impl Entry {
    pub fn interruption(&self) -> watch::Receiver<Option<Interruption>> {
        self.interruption.clone()
    }

    /// Why the run was told to end, if it was.
    pub fn why(&self) -> Option<Interruption> {
        *self.interruption.borrow()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut runs = self.running.lock();
        let listed = runs.get(&self.job);
        if listed.is_some_and(|run| run.subscribe().same_channel(&self.interruption)) {
            runs.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_first_reason_stays_but_a_lost_lease_overrules() {
        let running = Running::default();
        let job = JobId::from_uuid(Uuid::from_u128(1));
        let entry = running.enter(job);
        assert_eq!(entry.why(), None);
        running.interrupt(job, Interruption::Stop);
        running.interrupt(job, Interruption::Deadline);
        assert_eq!(entry.why(), Some(Interruption::Stop));
        running.end_all();
        assert_eq!(entry.why(), Some(Interruption::LeaseLost));
        running.interrupt(job, Interruption::Stop);
        assert_eq!(entry.why(), Some(Interruption::LeaseLost));
        drop(entry);
        assert!(running.lock().is_empty());
    }

    #[test]
    fn a_run_that_goes_late_leaves_the_next_one_on_the_list() {
        let running = Running::default();
        let job = JobId::from_uuid(Uuid::from_u128(1));
        let (old, next) = (running.enter(job), running.enter(job));
        drop(old);
        assert!(running.has(job));
        running.interrupt(job, Interruption::Stop);
        assert_eq!(next.why(), Some(Interruption::Stop));
        drop(next);
        assert!(!running.has(job));
    }
}
