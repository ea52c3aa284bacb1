//! What a run uses of its budgets: told with its progress, and answered by the store when there is no more of it.

use domain::{OverBudget, Progress, Spent};

use super::JobContext;

impl JobContext {
    /// Shows how far the run is, and what all runs of the job have used. Written at the next opportunity where that is
    /// `urgent`, else at least once a second.
    pub fn spend(&self, progress: Progress, spent: Option<Spent>, urgent: bool) {
        let mut pending = self.saying.lock();
        pending.set_progress(progress, spent, urgent);
        self.wake(&mut pending);
    }

    /// Resolves when what the run draws on is used up.
    pub async fn used_up(&self) {
        let mut over = self.over.subscribe();
        // The sender lives as long as this.
        let _ = over.wait_for(Option::is_some).await;
    }

    pub fn over(&self) -> Option<OverBudget> {
        self.over.borrow().clone()
    }
}
