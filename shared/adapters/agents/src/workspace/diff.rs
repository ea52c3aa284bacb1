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
use super::patch::Parts;
use super::tree::Checkout;
use crate::failure::{self, DISK_FULL_WORDS, is_full};

/// Of a larger patch, the largest files' parts are left out; the statistics stay, and lines at its end say so.
const PATCH_BYTES: usize = 16 * 1024 * 1024;
/// How much of a patch is looked at to find the files that fit; of a longer one, nothing is kept.
const LOOKED_AT_BYTES: usize = 512 * 1024 * 1024;
const STAT_BYTES: u64 = 16 * 1024 * 1024;
/// The names listed at most; the sums count all files.
const FILES_LISTED: usize = 1000;

impl Checkout {
    /// Statistics and patch against the base. The patch ends with `#` lines about what is not in it; `git apply` takes
    /// them for the words between patches.
    pub(super) async fn diff(&self) -> Result<Diff, HandlerError> {
        let repositories = self.stage().await?;
        let mut command = self.compare();
        command.args(["--numstat", "-z", &self.base, "--"]);
        let counted = self
            .looks
            .ask(command, "compare the tree", STAT_BYTES)
            .await?;
        if !counted.success && !counted.is_cut {
            return Err(failed("compare the tree", &counted.stderr, &self.diff));
        }
        let stat = parse_numstat(&counted.stdout);
        let mut patch = self.patch().await?.unwrap_or_else(|| {
            let (insertions, deletions) = (stat.insertions, stat.deletions);
            format!(
                "# The patch is larger than {PATCH_BYTES} bytes and was left out: {} files, {insertions} insertions, {deletions} deletions.\n",
                stat.files.len(),
            )
            .into_bytes()
        });
        for name in repositories {
            let note = format!(
                "# {name} is a git repository of its own; the files in it are not in this patch.\n"
            );
            patch.extend_from_slice(note.as_bytes());
        }
        Ok(Diff {
            stat,
            is_complete: is_complete(&patch),
            patch,
            base: self.base.clone(),
        })
    }

    /// Changes the tree of a fresh checkout, which no run has touched yet.
    pub(super) async fn apply(&self, patch: &[u8]) -> Result<(), HandlerError> {
        if patch.is_empty() {
            return Ok(());
        }
        let file = self.diff.join("patch");
        tokio::fs::write(&file, patch)
            .await
            .map_err(|error| failure::io("write", &file, &error))?;
        let mut command = self.git.command();
        command
            .current_dir(&self.tree)
            .args(["apply", "--whitespace=nowarn", "--allow-empty"])
            .arg(&file);
        let what = "apply the changes of the run that was paused";
        self.git.run(command, what, &self.tree).await
    }

    /// The patch as far as it fits. None when it is too large even without its largest files.
    async fn patch(&self) -> Result<Option<Vec<u8>>, HandlerError> {
        let mut command = self.compare();
        command.args(["--patch", "--binary", "--full-index", &self.base, "--"]);
        let mut parts = Parts::new(PATCH_BYTES);
        let mut looked_at = 0;
        let mut take = |chunk: &[u8]| {
            looked_at += chunk.len();
            looked_at <= LOOKED_AT_BYTES && parts.push(chunk)
        };
        let said = self
            .looks
            .tell(command, "compare the tree", &mut take)
            .await?;
        if said.is_cut {
            return Ok(None);
        }
        if !said.success {
            return Err(failed("compare the tree", &said.stderr, &self.diff));
        }
        Ok(parts.finish())
    }

    /// Takes all files of the tree into the kept index. The names of repositories inside whose files are left out.
    pub(super) async fn stage(&self) -> Result<Vec<String>, HandlerError> {
        self.open_to_git().await?;
        let mut command = self.outside();
        command.args(["-c", "advice.addEmbeddedRepo=false"]).args([
            "add",
            "--all",
            "--ignore-errors",
            "--",
            ".",
        ]);
        let what = "read the tree";
        let said = self.looks.ask(command, what, 4096).await?;
        let repositories = inner_repositories(&said.stderr);
        if said.success {
            return Ok(repositories);
        }
        // A file that cannot be read, or a repository inside without a commit, is left out; a full disk is not.
        if said.stderr.contains(DISK_FULL_WORDS) || is_full(&self.diff) {
            return Err(failed(what, &said.stderr, &self.diff));
        }
        tracing::warn!(tree = %self.tree.display(), reason = said.stderr, "parts of a tree are not in its diff");
        Ok(repositories)
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
    pub(super) fn outside(&self) -> Command {
        let mut work_tree = std::ffi::OsString::from("--work-tree=");
        work_tree.push(&self.tree);
        let mut command = self.looks.command();
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

/// No line of a patch itself begins so.
fn is_complete(patch: &[u8]) -> bool {
    !patch
        .split(|&byte| byte == b'\n')
        .any(|line| line.starts_with(b"# "))
}

/// The repositories inside the tree that git complained about: of one with a commit it takes the commit's name, of one
/// without nothing.
fn inner_repositories(stderr: &str) -> Vec<String> {
    let name = |line: &str| {
        let without_commit = line
            .strip_prefix("error: '")
            .and_then(|rest| rest.strip_suffix("' does not have a commit checked out"));
        let name = without_commit
            .or_else(|| line.strip_prefix("warning: adding embedded git repository: "));
        name.map(|name| name.trim_end_matches('/').to_owned())
    };
    stderr.lines().filter_map(name).collect()
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
