//! A diff that cannot have everything says what is missing, and what it has can be applied.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test does"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use adapter_agents::workspace::{GitWorkspaces, Roots};
use application::ports::{Diff, Workspace, Workspaces};
use common::{environment, new_job};
use domain::Repository;
use tempfile::TempDir;

/// A repository with one commit, and a run's checkout of it.
struct Place {
    folder: TempDir,
    workspace: Box<dyn Workspace>,
}

impl Place {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(more: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let repo = root.join("repo");
        fs::create_dir_all(&repo).unwrap();
        git(&repo, &["init", "--quiet", "--initial-branch=main"]);
        fs::write(repo.join("README.md"), "one\ntwo\n").unwrap();
        git(&repo, &["add", "--all"]);
        git(&repo, &["commit", "--quiet", "-m", "first"]);
        more(&repo);
        let workspaces = GitWorkspaces::new(
            &folder.path().join("base"),
            Roots::new(vec![root]),
            &environment(&[], &[], &[]),
        );
        let repository = Repository {
            path: repo.to_str().unwrap().to_owned(),
            reference: "main".to_owned(),
            exclusive: false,
        };
        let workspace = workspaces
            .open(new_job(), 1, Some(&repository))
            .await
            .unwrap();
        Self { folder, workspace }
    }

    fn tree(&self) -> &Path {
        self.workspace.directory()
    }

    /// The diff, and the user's repository with it applied.
    async fn applied(&self) -> (Diff, PathBuf) {
        let diff = self.workspace.diff().await.unwrap().unwrap();
        let file = self.folder.path().join("run.diff");
        fs::write(&file, &diff.patch).unwrap();
        let repo = self.folder.path().join("root/repo");
        git(&repo, &["apply", "--index", file.to_str().unwrap()]);
        (diff, repo)
    }
}

fn git(directory: &Path, args: &[&str]) {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {said}");
}

fn last_lines(diff: &Diff, count: usize) -> Vec<String> {
    let patch = String::from_utf8_lossy(&diff.patch);
    let lines: Vec<&str> = patch.lines().collect();
    let from = lines.len().saturating_sub(count);
    lines[from..].iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_huge_file_does_not_cost_the_others_their_patch() {
    let place = Place::new().await;
    let tree = place.tree();
    let line = "y".repeat(1023) + "\n";
    fs::write(tree.join("README.md"), "one\n2\n").unwrap();
    fs::write(tree.join("huge log.txt"), line.repeat(17 * 1024)).unwrap();
    fs::write(tree.join("large.txt"), line.repeat(2 * 1024)).unwrap();
    // The notes come after a binary part.
    fs::write(tree.join("zz.bin"), [0, 1, 2, 0xff, 0xfe]).unwrap();
    let (diff, repo) = place.applied().await;
    assert_eq!(
        diff.stat.files,
        ["README.md", "huge log.txt", "large.txt", "zz.bin"]
    );
    let notes = last_lines(&diff, 2);
    assert!(notes[0].starts_with("# The patch is larger than 16777216 bytes"));
    let size = notes[1].strip_prefix("#   huge log.txt: ").unwrap();
    let size: usize = size
        .strip_suffix(" bytes of patch")
        .unwrap()
        .parse()
        .unwrap();
    assert!(size > 17 * 1024 * 1024, "{size}");
    for name in ["README.md", "large.txt", "zz.bin"] {
        let (ours, theirs) = (fs::read(tree.join(name)), fs::read(repo.join(name)));
        assert_eq!(ours.unwrap(), theirs.unwrap(), "{name}");
    }
    assert!(!repo.join("huge log.txt").exists());
    place.workspace.close().await;
}

#[tokio::test]
async fn repositories_inside_the_tree_are_named_when_their_files_are_left_out() {
    let place = Place::new().await;
    for name in ["empty inner", "with-commit"] {
        let inner = place.tree().join(name);
        fs::create_dir(&inner).unwrap();
        git(&inner, &["init", "--quiet"]);
        fs::write(inner.join("file"), "x\n").unwrap();
    }
    let inner = place.tree().join("with-commit");
    git(&inner, &["add", "--all"]);
    git(&inner, &["commit", "--quiet", "-m", "inner"]);
    // The notes come after a last line that has no end.
    fs::write(place.tree().join("zzz.txt"), "no end").unwrap();
    let (diff, repo) = place.applied().await;
    let mut notes = last_lines(&diff, 2);
    notes.sort();
    let note = "is a git repository of its own; the files in it are not in this patch.";
    assert_eq!(
        notes,
        [
            format!("# empty inner {note}"),
            format!("# with-commit {note}")
        ]
    );
    assert_eq!(fs::read_to_string(repo.join("zzz.txt")).unwrap(), "no end");
    place.workspace.close().await;
}

/// A repository whose configuration names a program, and a file that git would have to ask that program about.
fn trap(inner: &Path, marker: &Path) {
    fs::create_dir_all(inner).unwrap();
    git(inner, &["init", "--quiet"]);
    fs::write(inner.join("file"), "one\n").unwrap();
    git(inner, &["add", "--all"]);
    git(inner, &["commit", "--quiet", "-m", "inner"]);
    let line = format!("touch {}; cat", marker.display());
    git(inner, &["config", "filter.trap.clean", &line]);
    fs::write(inner.join(".gitattributes"), "* filter=trap\n").unwrap();
    fs::write(inner.join("file"), "two\n").unwrap();
}

/// Git starts itself in repositories that it knows, with the configuration that lies there.
#[tokio::test]
async fn a_repository_inside_the_tree_makes_git_run_nothing() {
    let place = Place::new().await;
    let marker = place.folder.path().join("marker");
    trap(&place.tree().join("inner"), &marker);
    // What the first look has found, the second one knows: as a push does after the diff.
    for _ in 0..2 {
        place.workspace.diff().await.unwrap().unwrap();
    }
    assert!(!marker.exists(), "a program of the run was started");
    // That it is gone is seen all the same.
    fs::remove_dir_all(place.tree().join("inner")).unwrap();
    let diff = place.workspace.diff().await.unwrap().unwrap();
    assert_eq!(diff.stat.files, Vec::<String>::new());
    place.workspace.close().await;
}

/// The revision that the run starts from knows the repository inside already.
#[tokio::test]
async fn nor_does_one_that_was_there_before() {
    let place = Place::with(|repo| {
        let commit = "1234567890123456789012345678901234567890";
        let link = format!("160000,{commit},inner");
        git(repo, &["update-index", "--add", "--cacheinfo", &link]);
        git(repo, &["commit", "--quiet", "-m", "a submodule"]);
    })
    .await;
    let marker = place.folder.path().join("marker");
    trap(&place.tree().join("inner"), &marker);
    fs::write(place.tree().join("README.md"), "changed\n").unwrap();
    let diff = place.workspace.diff().await.unwrap().unwrap();
    assert!(!marker.exists(), "a program of the run was started");
    assert_eq!(diff.stat.files, ["README.md"]);
    place.workspace.close().await;
}

#[tokio::test]
async fn pipes_in_the_place_of_files_keep_git_waiting_for_nobody() {
    let place = Place::new().await;
    let inner = place.tree().join("inner");
    git(place.tree(), &["init", "--quiet", inner.to_str().unwrap()]);
    fs::remove_file(inner.join(".git/HEAD")).unwrap();
    for pipe in [".gitignore", ".gitattributes", "inner/.git/HEAD"] {
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&place.tree().join(pipe), mode).unwrap();
    }
    fs::write(place.tree().join("new.txt"), "new\n").unwrap();
    let looking = place.workspace.diff();
    let looked = tokio::time::timeout(Duration::from_mins(1), looking).await;
    let diff = looked.expect("git waits for nobody").unwrap().unwrap();
    assert!(
        diff.stat.files.contains(&"new.txt".to_owned()),
        "{:?}",
        diff.stat
    );
    place.workspace.close().await;
}
