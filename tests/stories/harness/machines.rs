//! Workers on machines of their own: they share nothing but the services.

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, Stand, eventually};

impl Stand {
    /// A worker appears that has a data folder of its own, then `signal` goes to the worker that was there before.
    pub async fn move_to_another_machine(&self, signal: Signal) {
        let before = self.runner();
        let folder = TempDir::with_prefix_in("machine-", self.installation.folder.path());
        let count = self.runners();
        self.start_worker_in(&folder.expect("a folder").keep());
        self.workers_are(count + 1).await;
        self.with(&before, |process| process.signal(signal));
        eventually(&format!("{before} ends"), PATIENCE, async || {
            self.with(&before, Process::has_ended)
        })
        .await;
    }
}
