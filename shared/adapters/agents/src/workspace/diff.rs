//! What a run changed, found without trusting anything in its tree but the files themselves.
//!
//! The run's own `.git` is not used: it may be gone, or made to run something. The mirror is the repository, the index
//! is the one kept at checkout, and new objects go to a folder that is removed with the run. Files that the tree's own
//! ignore rules leave out are not part of the diff; commits of the run are, since it is taken against the revision that the
//! run started from.

use application::ports::{Diff, HandlerError};
use domain::DiffStat;
use tokio::process::Command;

use super::git::{failed, git_dir};
use super::tree::Checkout;
use crate::failure::{DISK_FULL_WORDS, is_full};

/// A larger patch is left out; the statistics stay, and a line in the patch's place says so.
const PATCH_BYTES: u64 = 16 * 1024 * 1024;
const STAT_BYTES: u64 = 16 * 1024 * 1024;
/// The names listed at most; the sums count all files.
const FILES_LISTED: usize = 1000;

impl Checkout {
    /// Statistics and patch against the base. A patch above 16 MiB is replaced by one line that says so.
    pub(super) async fn diff(&self) -> Result<Diff, HandlerError> {
        self.stage().await?;
        let mut command = self.compare();
        command.args(["--numstat", "-z", &self.base, "--"]);
        let counted = self
            .git
            .ask(command, "compare the tree", STAT_BYTES)
            .await?;
        if !counted.success && !counted.is_cut {
            return Err(failed("compare the tree", &counted.stderr, &self.diff));
        }
        let stat = parse_numstat(&counted.stdout);
        let mut command = self.compare();
        command.args(["--patch", "--binary", "--full-index", &self.base, "--"]);
        let patch = self
            .git
            .ask(command, "compare the tree", PATCH_BYTES)
            .await?;
        if patch.is_cut {
            let note = format!(
                "# The patch is larger than {PATCH_BYTES} bytes and was left out: {} files, {} insertions, {} deletions.\n",
                stat.files.len(),
                stat.insertions,
                stat.deletions
            );
            return Ok(Diff {
                stat,
                patch: note.into_bytes(),
            });
        }
        if !patch.success {
            return Err(failed("compare the tree", &patch.stderr, &self.diff));
        }
        Ok(Diff {
            stat,
            patch: patch.stdout,
        })
    }

    /// Takes all files of the tree into the kept index.
    async fn stage(&self) -> Result<(), HandlerError> {
        let mut command = self.outside();
        command.args(["add", "--all", "--ignore-errors", "--", "."]);
        let what = "read the tree";
        let said = self.git.ask(command, what, 4096).await?;
        if said.success {
            return Ok(());
        }
        // A file that cannot be read, or a repository inside without a commit, is left out; a full disk is not.
        if said.stderr.contains(DISK_FULL_WORDS) || is_full(&self.diff) {
            return Err(failed(what, &said.stderr, &self.diff));
        }
        tracing::warn!(tree = %self.tree.display(), reason = said.stderr, "parts of a tree are not in its diff");
        Ok(())
    }

    fn compare(&self) -> Command {
        let mut command = self.outside();
        command.args([
            "diff-index",
            "--cached",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
        ]);
        command
    }

    /// Git over the tree, from outside of it.
    fn outside(&self) -> Command {
        let mut work_tree = std::ffi::OsString::from("--work-tree=");
        work_tree.push(&self.tree);
        let mut command = self.git.command();
        command
            .args(["-c", "core.looseCompression=1"])
            .arg(git_dir(&self.mirror))
            .arg(work_tree)
            .current_dir(&self.tree)
            .env("GIT_INDEX_FILE", self.diff.join("index"))
            .env("GIT_OBJECT_DIRECTORY", self.diff.join("objects"))
            .env(
                "GIT_ALTERNATE_OBJECT_DIRECTORIES",
                self.mirror.join("objects"),
            );
        command
    }
}

/// `insertions TAB deletions TAB path NUL`, with `-` for both numbers of a binary file.
fn parse_numstat(stdout: &[u8]) -> DiffStat {
    let mut stat = DiffStat::default();
    for entry in stdout.split(|&byte| byte == 0) {
        let text = String::from_utf8_lossy(entry);
        let mut fields = text.splitn(3, '\t');
        let (Some(insertions), Some(deletions), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        stat.insertions += insertions.parse().unwrap_or(0);
        stat.deletions += deletions.parse().unwrap_or(0);
        if stat.files.len() < FILES_LISTED {
            stat.files.push(path.to_owned());
        }
    }
    stat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numstat_is_counted_with_binary_files_and_odd_names() {
        let stat = parse_numstat(b"3\t1\tsrc/a b.rs\0-\t-\timage.png\x005\t0\tline\nbreak\0");
        assert_eq!(stat.files, ["src/a b.rs", "image.png", "line\nbreak"]);
        assert_eq!((stat.insertions, stat.deletions), (8, 1));
    }
}
