//! How much a run's folders hold, found by walking them.
//!
//! What is open and has no name any more is not seen; a file's own size is limited by the system meanwhile
//! (`RLIMIT_FSIZE`), so that one such file is not larger than the limit either.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::limits::LimitHit;

/// A block as the system counts them, whatever the file system's own are.
const BLOCK_BYTES: u64 = 512;
/// More than any worktree has, and as many as can be looked at in seconds.
const FILES: u64 = 2_000_000;

/// Walks the folders until it is clear. A file with several names counts once.
pub(super) fn over(folders: &[PathBuf], limit: u64) -> Option<LimitHit> {
    let mut walk = Walk::default();
    let mut open: Vec<PathBuf> = folders.to_vec();
    while let Some(folder) = open.pop() {
        // Folders come and go while a run works.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else {
                continue;
            };
            walk.take(&about);
            if walk.files > FILES {
                return Some(LimitHit::Files { limit: FILES });
            }
            if about.is_dir() && same_device(&folder, &about) {
                open.push(entry.path());
            }
        }
    }
    (walk.bytes >= limit).then_some(LimitHit::Disk {
        used: walk.bytes,
        limit,
    })
}

fn same_device(parent: &Path, about: &fs::Metadata) -> bool {
    fs::symlink_metadata(parent).is_ok_and(|it| it.dev() == about.dev() && it.is_dir())
}

#[derive(Default)]
struct Walk {
    bytes: u64,
    files: u64,
    linked: HashSet<(u64, u64)>,
}

impl Walk {
    fn take(&mut self, about: &fs::Metadata) {
        self.files += 1;
        let is_new =
            about.nlink() < 2 || about.is_dir() || self.linked.insert((about.dev(), about.ino()));
        if is_new {
            self.bytes += about.blocks() * BLOCK_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_counts_once_and_links_lead_nowhere() {
        let base = tempfile::tempdir().unwrap();
        let inner = base.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("one"), vec![7; 1_000_000]).unwrap();
        fs::hard_link(inner.join("one"), base.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/usr", base.path().join("far")).unwrap();
        let folders = [base.path().to_owned()];
        assert_eq!(over(&folders, 1_900_000), None);
        let hit = over(&folders, 900_000);
        assert!(
            matches!(hit, Some(LimitHit::Disk { used, limit: 900_000 }) if used >= 1_000_000),
            "{hit:?}"
        );
        assert_eq!(over(&[base.path().join("none")], 1), None);
    }
}
