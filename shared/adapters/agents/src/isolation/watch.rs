//! Looks at what a run uses while it goes on, and once more at its end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::bubblewrap::Confined;
use super::cgroup::Group;
use super::disk;
use super::limits::{LimitHit, Limits};

/// How soon a run that goes beyond its limits is ended, at best.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looking may take this part of the time: a large tree is looked at less often.
const SHARE: u32 = 20;
/// However large the tree.
const LOOK_AT_LAST: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    group: Option<Group>,
    disk: Option<Disk>,
}

#[derive(Debug, Clone)]
struct Disk {
    folders: Vec<PathBuf>,
    limit: u64,
}

impl Watch {
    pub(super) fn new(group: Option<&Group>, limits: &Limits, confined: &Confined) -> Self {
        let folders = [&confined.tree, &confined.private];
        let folders = folders.into_iter().chain(&confined.writable);
        let folders: Vec<PathBuf> = folders.cloned().collect();
        Self {
            group: group.cloned(),
            disk: limits.disk_bytes.map(|limit| Disk { folders, limit }),
        }
    }

    /// Resolves when the run has gone beyond a limit; never for one that stays within.
    pub(crate) async fn exceeded(&self) -> LimitHit {
        if self.group.is_none() && self.disk.is_none() {
            return std::future::pending().await;
        }
        let mut pause = LOOK_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            if let Some(hit) = self.look().await {
                return hit;
            }
            pause = (began.elapsed() * SHARE).clamp(LOOK_EVERY, LOOK_AT_LAST);
        }
    }

    pub(crate) async fn look(&self) -> Option<LimitHit> {
        let own = self.clone();
        // It walks folders.
        let looked = tokio::task::spawn_blocking(move || own.look_now()).await;
        looked.unwrap_or_else(|error| {
            tracing::warn!(%error, "a run's limits could not be looked at");
            None
        })
    }

    fn look_now(&self) -> Option<LimitHit> {
        let grouped = self.group.as_ref().and_then(Group::hit);
        grouped.or_else(|| {
            let Disk { folders, limit } = self.disk.as_ref()?;
            disk::over(folders, *limit)
        })
    }
}
