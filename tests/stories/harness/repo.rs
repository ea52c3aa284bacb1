//! A small git repository that a story makes for itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub struct Repo {
    folder: TempDir,
}

impl Repo {
    /// One commit with a text, a file with spaces in its name, a binary and a program.
    pub fn new(parent: &Path) -> Self {
        let folder = TempDir::with_prefix_in("repo-", parent).expect("a folder");
        let repo = Self { folder };
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo.write("README", b"A repository.\nIts second line.\n");
        repo.write("two words.txt", "größer\n".as_bytes());
        repo.write("blob.bin", &[0, 159, 146, 150, 0, 1, 2, 3]);
        repo.write("old.txt", b"This one is to be removed.\n");
        repo.commit("the first");
        repo
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(name), bytes).expect("a file");
    }

    pub fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    /// A clone beside it, to try a patch on.
    pub fn cloned(&self) -> PathBuf {
        let target = self.path().with_extension("clone");
        git(
            Path::new("/"),
            &[
                "clone",
                "--quiet",
                &self.path().display().to_string(),
                &target.display().to_string(),
            ],
        );
        target
    }

    /// Everything that git can say about the repository's state: what a session must not change.
    pub fn fingerprint(&self) -> String {
        let mut said = String::new();
        for arguments in [
            &["status", "--porcelain", "--ignored"][..],
            &["show-ref"],
            &["worktree", "list"],
            &["stash", "list"],
            &["config", "--local", "--list"],
        ] {
            said.push_str(&self.git(arguments));
        }
        said
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        git(self.path(), arguments)
    }
}

/// Runs git without the configuration of whoever runs the tests.
pub fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([
            ("GIT_AUTHOR_NAME", "Story"),
            ("GIT_AUTHOR_EMAIL", "story@example.org"),
            ("GIT_COMMITTER_NAME", "Story"),
            ("GIT_COMMITTER_EMAIL", "story@example.org"),
        ])
        .output()
        .expect("git can be started");
    assert!(
        output.status.success(),
        "git {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
