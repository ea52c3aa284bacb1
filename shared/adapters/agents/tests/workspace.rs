//! Runs work on checkouts of their own; the user's repository is only read.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test does"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use adapter_agents::workspace::{GitWorkspaces, Roots};
use application::ports::{Diff, HandlerError, Workspace, Workspaces};
use common::{environment, error_of, new_job};
use domain::{JobError, Repository};
use tempfile::TempDir;

/// A user's repository below a root, and the workspaces of a worker.
struct Place {
    folder: TempDir,
    workspaces: GitWorkspaces,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("repo/src")).unwrap();
        let workspaces = GitWorkspaces::new(
            &folder.path().join("base"),
            Roots::new(vec![root]),
            &environment(&[], &[], &[]),
        );
        let place = Self { folder, workspaces };
        let repo = place.repo();
        git(&repo, &["init", "--quiet", "--initial-branch=main"]);
        fs::write(repo.join("README.md"), "one\ntwo\n").unwrap();
        fs::write(repo.join("src/lib.rs"), "pub fn a() {}\n").unwrap();
        fs::write(repo.join("old.txt"), "old\n").unwrap();
        fs::write(repo.join(".gitignore"), "target/\n").unwrap();
        commit(&repo, "first");
        place
    }

    fn repo(&self) -> PathBuf {
        self.folder.path().join("root/repo")
    }

    async fn open(&self, path: &Path, reference: &str) -> Result<Box<dyn Workspace>, HandlerError> {
        let repository = Repository {
            path: path.to_str().unwrap().to_owned(),
            reference: reference.to_owned(),
            exclusive: false,
        };
        self.workspaces.open(new_job(), 1, Some(&repository)).await
    }

    async fn refusal(&self, path: &Path, reference: &str) -> JobError {
        let opened = self.open(path, reference).await;
        error_of(opened.map(|workspace| workspace.directory().to_owned()))
    }

    fn runs(&self) -> usize {
        fs::read_dir(self.folder.path().join("base/runs")).map_or(0, Iterator::count)
    }
}

fn git(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn commit(directory: &Path, message: &str) {
    git(directory, &["add", "--all"]);
    git(directory, &["commit", "--quiet", "-m", message]);
}

/// Every file of a folder with its content, `.git` included.
fn snapshot(folder: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(snapshot(&entry.path()));
        } else {
            found.insert((entry.path(), fs::read(entry.path()).unwrap_or_default()));
        }
    }
    found
}

fn patch(diff: &Diff) -> String {
    String::from_utf8_lossy(&diff.patch).into_owned()
}

#[tokio::test]
async fn a_run_works_on_its_own_checkout_and_the_users_repository_stays_as_it_is() {
    let place = Place::new();
    let repo = place.repo();
    fs::write(repo.join("README.md"), "not committed yet\n").unwrap();
    let before = snapshot(&repo);
    let workspace = place.open(&repo, "main").await.unwrap();
    let tree = workspace.directory().to_owned();
    assert_eq!(
        fs::read_to_string(tree.join("README.md")).unwrap(),
        "one\ntwo\n"
    );
    fs::write(tree.join("README.md"), "one\n2\n").unwrap();
    git(&tree, &["checkout", "--quiet", "-b", "work"]);
    git(&tree, &["config", "core.fsmonitor", "/bin/false"]);
    commit(&tree, "by the agent");
    git(&tree, &["log", "--oneline"]);
    let diff = workspace.diff().await.unwrap().unwrap();
    assert_eq!(diff.stat.files, ["README.md"]);
    workspace.close().await;
    assert_eq!(place.runs(), 0);
    assert_eq!(snapshot(&repo), before);
}

#[tokio::test]
async fn the_diff_has_new_changed_deleted_and_binary_files_and_applies() {
    let place = Place::new();
    let repo = place.repo();
    let workspace = place.open(&repo, "HEAD").await.unwrap();
    let tree = workspace.directory().to_owned();
    fs::write(tree.join("new file.txt"), "a\nb\nc\n").unwrap();
    fs::write(tree.join("src/lib.rs"), "pub fn b() {}\n").unwrap();
    fs::write(tree.join("data.bin"), [0, 1, 2, 255, 0, 7]).unwrap();
    fs::remove_file(tree.join("old.txt")).unwrap();
    fs::create_dir(tree.join("target")).unwrap();
    fs::write(tree.join("target/ignored"), "x").unwrap();
    let diff = workspace.diff().await.unwrap().unwrap();
    assert_eq!(
        diff.stat.files,
        ["data.bin", "new file.txt", "old.txt", "src/lib.rs"]
    );
    assert_eq!((diff.stat.insertions, diff.stat.deletions), (4, 2));

    fs::write(place.folder.path().join("run.diff"), &diff.patch).unwrap();
    git(&repo, &["apply", "--index", "../../run.diff"]);
    assert_eq!(
        fs::read(repo.join("data.bin")).unwrap(),
        [0, 1, 2, 255, 0, 7]
    );
    assert_eq!(
        fs::read_to_string(repo.join("new file.txt")).unwrap(),
        "a\nb\nc\n"
    );
    assert!(!repo.join("old.txt").exists());
    workspace.close().await;
}

#[tokio::test]
async fn a_base_folder_that_is_named_relatively_works() {
    let place = Place::new();
    let here = std::env::current_dir().unwrap();
    let up = "../".repeat(here.components().count() - 1);
    let base = PathBuf::from(
        up + place
            .folder
            .path()
            .join("other")
            .to_str()
            .unwrap()
            .trim_start_matches('/'),
    );
    let roots = Roots::new(vec![place.folder.path().join("root")]);
    let workspaces = GitWorkspaces::new(&base, roots, &environment(&[], &[], &[]));
    let repository = Repository {
        path: place.repo().to_str().unwrap().to_owned(),
        reference: "HEAD".to_owned(),
        exclusive: false,
    };
    let workspace = workspaces
        .open(new_job(), 1, Some(&repository))
        .await
        .unwrap();
    fs::write(workspace.directory().join("new"), "x\n").unwrap();
    assert_eq!(workspace.diff().await.unwrap().unwrap().stat.files, ["new"]);
    workspace.close().await;
}

#[tokio::test]
async fn an_untouched_tree_has_an_empty_diff() {
    let place = Place::new();
    let workspace = place.open(&place.repo(), "HEAD").await.unwrap();
    let diff = workspace.diff().await.unwrap().unwrap();
    assert_eq!((diff.stat.files.len(), diff.patch.len()), (0, 0));
    workspace.close().await;
}

#[tokio::test]
async fn what_the_run_does_to_its_git_folder_changes_neither_the_diff_nor_us() {
    let place = Place::new();
    let workspace = place.open(&place.repo(), "HEAD").await.unwrap();
    let tree = workspace.directory().to_owned();
    let trap = place.folder.path().join("trap");
    let bait = format!("/bin/sh -c 'echo caught > {}'", trap.display());
    for setting in [
        "core.fsmonitor",
        "filter.x.clean",
        "diff.x.textconv",
        "diff.external",
    ] {
        git(&tree, &["config", setting, &bait]);
    }
    fs::write(tree.join(".gitattributes"), "* filter=x diff=x\n").unwrap();
    fs::write(tree.join("README.md"), "changed\n").unwrap();
    let diff = workspace.diff().await.unwrap().unwrap();
    assert_eq!(diff.stat.files, [".gitattributes", "README.md"]);
    assert!(!trap.exists());

    fs::remove_dir_all(tree.join(".git")).unwrap();
    fs::write(tree.join(".git"), "gitdir: /nowhere\n").unwrap();
    let again = workspace.diff().await.unwrap().unwrap();
    assert_eq!(again, diff);
    workspace.close().await;
}

#[tokio::test]
async fn a_repository_without_a_commit_inside_the_tree_does_not_spoil_the_rest() {
    let place = Place::new();
    let workspace = place.open(&place.repo(), "HEAD").await.unwrap();
    let tree = workspace.directory().to_owned();
    fs::create_dir(tree.join("inner")).unwrap();
    git(&tree.join("inner"), &["init", "--quiet"]);
    fs::write(tree.join("inner/file"), "x\n").unwrap();
    fs::write(tree.join("zzz.txt"), "after it\n").unwrap();
    let diff = workspace.diff().await.unwrap().unwrap();
    assert_eq!(diff.stat.files, ["zzz.txt"]);
    assert!(patch(&diff).contains("+after it"));
    workspace.close().await;
}

#[tokio::test]
async fn an_enormous_patch_is_left_out_and_the_counts_stay() {
    let place = Place::new();
    let workspace = place.open(&place.repo(), "HEAD").await.unwrap();
    let line = "y".repeat(1023) + "\n";
    fs::write(
        workspace.directory().join("big.txt"),
        line.repeat(17 * 1024),
    )
    .unwrap();
    let diff = workspace.diff().await.unwrap().unwrap();
    assert_eq!(diff.stat.files, ["big.txt"]);
    assert_eq!(diff.stat.insertions, 17 * 1024);
    assert!(patch(&diff).starts_with("# The patch is larger than"));
    workspace.close().await;
}

#[tokio::test]
async fn a_branch_a_tag_and_a_commit_are_revisions_and_a_moved_branch_is_seen() {
    let place = Place::new();
    let repo = place.repo();
    git(&repo, &["tag", "v1"]);
    let first = git(&repo, &["rev-parse", "HEAD"]).trim().to_owned();
    place.open(&repo, "main").await.unwrap().close().await;
    fs::write(repo.join("second.txt"), "2\n").unwrap();
    commit(&repo, "second");
    for (reference, has_second) in [
        ("main", true),
        ("v1", false),
        (first.as_str(), false),
        ("main~1", false),
    ] {
        let workspace = place.open(&repo, reference).await.unwrap();
        assert_eq!(
            workspace.directory().join("second.txt").exists(),
            has_second,
            "{reference}"
        );
        workspace.close().await;
    }
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let place = Place::new();
    let repo = place.repo();
    let root = place.folder.path().join("root");
    let missing = place.refusal(&root.join("nothing"), "HEAD").await;
    assert_eq!(missing.code, "REPOSITORY_MISSING");
    fs::create_dir(root.join("plain")).unwrap();
    let plain = place.refusal(&root.join("plain"), "HEAD").await;
    assert_eq!(plain.code, "REPOSITORY_MISSING");
    assert!(plain.message.contains("not a git repository"), "{plain}");
    let revision = place.refusal(&repo, "no-such-branch").await;
    assert_eq!(revision.code, "REVISION_MISSING");
    assert!(revision.message.contains("`no-such-branch`"), "{revision}");
    let inside = place.refusal(&repo.join("src"), "HEAD").await;
    assert_eq!(inside.code, "REPOSITORY_MISSING");
    assert_eq!(place.runs(), 0);
}

#[tokio::test]
async fn nothing_outside_the_roots_is_read() {
    let place = Place::new();
    let base = place.folder.path();
    let root = base.join("root");
    git(base, &["clone", "--quiet", "root/repo", "elsewhere"]);
    symlink(base.join("elsewhere"), root.join("link")).unwrap();
    fs::create_dir(root.join("pointer")).unwrap();
    fs::write(
        root.join("pointer/.git"),
        format!("gitdir: {}\n", base.join("elsewhere/.git").display()),
    )
    .unwrap();
    git(&root, &["init", "--quiet", "borrower"]);
    let objects = base.join("elsewhere/.git/objects");
    let alternates = root.join("borrower/.git/objects/info/alternates");
    fs::write(alternates, format!("{}\n", objects.display())).unwrap();
    let commit = git(&base.join("elsewhere"), &["rev-parse", "HEAD"]);
    git(
        &root.join("borrower"),
        &["update-ref", "HEAD", commit.trim()],
    );
    for path in [
        base.join("elsewhere"),
        root.join("link"),
        root.join("../elsewhere"),
        root.join("pointer"),
        root.join("borrower"),
    ] {
        let error = place.refusal(&path, "HEAD").await;
        assert_eq!(error.code, "REPOSITORY_OUTSIDE_ROOTS", "{}", path.display());
        assert!(error.message.contains("ORCHESTRATOR_ROOTS"), "{error}");
    }
}

#[tokio::test]
async fn hooks_of_the_user_do_not_run() {
    let place = Place::new();
    let repo = place.repo();
    let trap = place.folder.path().join("trap");
    for hook in ["post-checkout", "reference-transaction", "pre-auto-gc"] {
        let path = repo.join(".git/hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\ntouch {}\n", trap.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    place.open(&repo, "HEAD").await.unwrap().close().await;
    assert!(!trap.exists());
}

#[tokio::test]
async fn shallow_repositories_and_those_with_sha256_work_too() {
    let place = Place::new();
    let root = place.folder.path().join("root");
    let repo = place.repo();
    fs::write(repo.join("second.txt"), "2\n").unwrap();
    commit(&repo, "second");
    let from = format!("file://{}", repo.display());
    git(
        &root,
        &["clone", "--quiet", "--depth", "1", &from, "shallow"],
    );
    git(
        &root,
        &["init", "--quiet", "--object-format=sha256", "modern"],
    );
    fs::write(root.join("modern/file"), "x\n").unwrap();
    commit(&root.join("modern"), "first");
    for name in ["shallow", "modern"] {
        let workspace = place.open(&root.join(name), "HEAD").await.unwrap();
        let tree = workspace.directory().to_owned();
        assert_eq!(
            git(&tree, &["log", "--oneline"]).lines().count(),
            1,
            "{name}"
        );
        fs::write(tree.join("more"), "more\n").unwrap();
        let diff = workspace.diff().await.unwrap().unwrap();
        assert_eq!(diff.stat.files, ["more"], "{name}");
        workspace.close().await;
    }
}

#[tokio::test]
async fn a_repository_of_another_user_is_read_all_the_same() {
    // Only root can give files away; for others every repository of this test is their own.
    let place = Place::new();
    let repo = place.repo();
    if nix::unistd::geteuid().is_root() {
        let changed = Command::new("chown")
            .args(["-R", "65534:65534"])
            .arg(&repo)
            .status();
        assert!(changed.unwrap().success());
    }
    place.open(&repo, "HEAD").await.unwrap().close().await;
}

#[tokio::test]
async fn sixteen_sessions_share_one_repository_at_once() {
    let place = Place::new();
    let repo = place.repo();
    let sessions = (0..16).map(|number| {
        let (place, repo) = (&place, &repo);
        async move {
            let workspace = place.open(repo, "main").await.unwrap();
            let tree = workspace.directory().to_owned();
            git(&tree, &["checkout", "--quiet", "-b", "same-name"]);
            fs::write(tree.join("mine.txt"), format!("{number}\n")).unwrap();
            commit(&tree, "mine");
            let diff = workspace.diff().await.unwrap().unwrap();
            assert!(patch(&diff).contains(&format!("+{number}\n")));
            assert_eq!(diff.stat.files, ["mine.txt"]);
            workspace.close().await;
        }
    });
    futures::future::join_all(sessions).await;
    assert_eq!(place.runs(), 0);
    assert_eq!(git(&repo, &["status", "--porcelain"]), "");
    assert_eq!(git(&repo, &["branch", "--list"]).trim(), "* main");
}

#[tokio::test]
async fn without_a_repository_there_is_an_empty_folder_and_no_diff() {
    let place = Place::new();
    let workspace = place.workspaces.open(new_job(), 1, None).await.unwrap();
    assert_eq!(fs::read_dir(workspace.directory()).unwrap().count(), 0);
    assert_eq!(workspace.diff().await.unwrap(), None);
    workspace.close().await;
    assert_eq!(place.runs(), 0);
}

#[tokio::test]
async fn leftovers_of_dead_workers_are_swept_and_living_runs_stay() {
    let place = Place::new();
    let living = place.workspaces.open(new_job(), 1, None).await.unwrap();
    let dead = place
        .folder
        .path()
        .join("base/runs/0198c5a2-7e1b-7cc0-8000-0123456789ab-1");
    fs::create_dir_all(dead.join("tree")).unwrap();
    assert_eq!(place.workspaces.sweep().await.unwrap(), 1);
    assert!(!dead.exists());
    assert!(living.directory().is_dir());
    living.close().await;
}

#[tokio::test]
async fn a_branch_has_one_name_whatever_it_is_called_by() {
    let place = Place::new();
    let repo = place.repo();
    git(&repo, &["branch", "other"]);
    let branch = async |reference: &str| {
        let repository = Repository {
            path: repo.to_str().unwrap().to_owned(),
            reference: reference.to_owned(),
            exclusive: true,
        };
        place.workspaces.branch(&repository).await
    };
    let main = branch("HEAD").await.unwrap();
    assert!(main.ends_with("@refs/heads/main"), "{main}");
    assert_eq!(branch("main").await.unwrap(), main);
    assert_eq!(branch("refs/heads/main").await.unwrap(), main);
    assert!(
        branch("other")
            .await
            .unwrap()
            .ends_with("@refs/heads/other")
    );
    let commit = git(&repo, &["rev-parse", "HEAD"]);
    let refused = error_of(branch(commit.trim()).await);
    assert_eq!(refused.code, "REVISION_NOT_A_BRANCH");
    assert_eq!(error_of(branch("nowhere").await).code, "REVISION_MISSING");
}
