//! Workers on machines of their own: they share nothing but the services.

use std::path::Path;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, Stand, eventually};

impl Stand {
    /// A worker appears that has a data folder of its own, then `signal` goes to the worker that was there before.
    pub async fn move_to_another_machine(&self, signal: Signal) {
        let folder = TempDir::with_prefix_in("machine-", self.installation.folder.path());
        self.move_to(&folder.expect("a folder").keep(), signal)
            .await;
    }

    /// The same, back to where the first workers were.
    pub async fn move_to_the_first_machine(&self, signal: Signal) {
        self.move_to(&self.data_dir(), signal).await;
    }

    async fn move_to(&self, data_dir: &Path, signal: Signal) {
        let before = self.runner();
        let count = self.runners();
        self.start_worker_in(data_dir);
        self.workers_are(count + 1).await;
        self.with(&before, |process| process.signal(signal));
        eventually(&format!("{before} ends"), PATIENCE, async || {
            self.with(&before, Process::has_ended)
        })
        .await;
        self.processes().retain(|process| process.name != before);
    }
}
