//! One bare repository of ours for each of the users', so that theirs are only read, and read once for many runs.
//!
//! Each commit that a run started from is held by a ref of its own name. The ref is written when the commit is there
//! as a whole, so finding it means that nothing needs to be fetched. Mirrors grow with the commits worked on and may be
//! deleted while no worker runs.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use application::ports::HandlerError;
use domain::Repository;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::git::{Git, PATIENCE, git_dir, line};
use super::roots::{Roots, RootsError};
use super::storage;
use crate::failure::{self, fail};

const SHA256_HEX: usize = 64;

pub(super) struct Mirrors {
    folder: PathBuf,
    git: Arc<Git>,
    /// One lock a mirror: fetching the same thing twice at once would be waste.
    locks: Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>,
}

/// A commit of a user's repository.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub repository: PathBuf,
    pub commit: String,
}

impl Mirrors {
    pub(super) fn new(folder: PathBuf, git: Arc<Git>) -> Self {
        Self {
            folder,
            git,
            locks: Mutex::default(),
        }
    }

    /// Finds the repository and the commit that its reference means now. Reads only.
    pub(super) async fn locate(
        &self,
        wanted: &Repository,
        roots: &Roots,
    ) -> Result<Source, HandlerError> {
        let repository = roots.admit(Path::new(&wanted.path)).map_err(|error| {
            let code = match error {
                RootsError::Missing(_) | RootsError::Unreadable { .. } => "REPOSITORY_MISSING",
                RootsError::Outside { .. } | RootsError::Closed(_) => "REPOSITORY_OUTSIDE_ROOTS",
            };
            fail(code, format!("the repository {error}"))
        })?;
        self.check_storage(&repository, roots).await?;
        let mut command = self.reader(&repository);
        command
            .args(["rev-parse", "--quiet", "--verify", "--end-of-options"])
            .arg(format!("{}^{{commit}}", wanted.reference));
        let what = format!("read {}", repository.display());
        let said = self.git.ask(command, &what, 4096).await?;
        if !said.success {
            return Err(fail(
                "REVISION_MISSING",
                format!(
                    "the repository {} has no commit `{}`; name a branch, tag or commit that it has",
                    wanted.path, wanted.reference
                ),
            ));
        }
        Ok(Source {
            repository,
            commit: line(&said.stdout),
        })
    }

    /// The full name of what `wanted` names there, with the repository: `/srv/shop@refs/heads/main`.
    pub(super) async fn branch(
        &self,
        source: &Source,
        wanted: &Repository,
    ) -> Result<String, HandlerError> {
        let mut command = self.reader(&source.repository);
        command
            .args([
                "rev-parse",
                "--verify",
                "--quiet",
                "--symbolic-full-name",
                "--end-of-options",
            ])
            .arg(&wanted.reference);
        let what = format!("read {}", source.repository.display());
        let said = self.git.ask(command, &what, 4096).await?;
        let name = line(&said.stdout);
        // A detached HEAD has no other name.
        if !said.success || name.is_empty() || name == "HEAD" {
            let message = format!(
                "an exclusive session takes its turn at a branch or tag, and `{}` of {} is neither; name the branch that \
                 the commit is on",
                wanted.reference,
                source.repository.display()
            );
            return Err(fail("REVISION_NOT_A_BRANCH", message));
        }
        Ok(format!("{}@{name}", source.repository.display()))
    }

    /// That it is a repository, and that what it stores lies below a root too: a `.git` file may point anywhere, and so may
    /// what is in that folder.
    async fn check_storage(&self, repository: &Path, roots: &Roots) -> Result<(), HandlerError> {
        let mut command = self.reader(repository);
        command.args(["rev-parse", "--path-format=absolute", "--git-common-dir"]);
        let what = format!("read {}", repository.display());
        let said = self.git.ask(command, &what, 8192).await?;
        if !said.success {
            return Err(fail(
                "REPOSITORY_MISSING",
                format!(
                    "{} is not a git repository; name its top folder ({})",
                    repository.display(),
                    reason(&said.stderr)
                ),
            ));
        }
        let folder = PathBuf::from(line(&said.stdout));
        let roots = roots.clone();
        let checked = tokio::task::spawn_blocking(move || storage::check(&folder, &roots)).await;
        let why = match checked {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(fail(
            "REPOSITORY_OUTSIDE_ROOTS",
            format!(
                "what the repository {} stores does not lie where jobs may read: {why}",
                repository.display()
            ),
        ))
    }

    /// Git inside a user's repository, and not in one above it.
    fn reader(&self, repository: &Path) -> tokio::process::Command {
        let mut command = self.git.command();
        command.current_dir(repository);
        if let Some(above) = repository.parent() {
            command.env("GIT_CEILING_DIRECTORIES", above);
        }
        command
    }

    /// The mirror, with the commit in it.
    pub(super) async fn fetch(&self, source: &Source) -> Result<PathBuf, HandlerError> {
        let is_sha256 = source.commit.len() == SHA256_HEX;
        let mut key = source.repository.as_os_str().as_encoded_bytes().to_vec();
        key.push(u8::from(is_sha256));
        let name = hex::encode(&Sha256::digest(&key)[..16]);
        let mirror = self.folder.join(format!("{name}.git"));
        let lock = {
            let mut locks = self.locks.lock().await;
            Arc::clone(locks.entry(mirror.clone()).or_default())
        };
        let (git, source, path) = (Arc::clone(&self.git), source.clone(), mirror.clone());
        // A task of its own: a run that is interrupted must not cut a fetch short that others wait for.
        let fetched = tokio::spawn(async move {
            let _one_of_this_process = lock.lock().await;
            update(&git, &source, &path).await
        });
        fetched
            .await
            .map_err(|error| failure::retry("GIT_FAILED", error.to_string()))??;
        Ok(mirror)
    }
}

async fn update(git: &Git, source: &Source, mirror: &Path) -> Result<(), HandlerError> {
    let reference = format!("refs/commits/{}", source.commit);
    if has(git, mirror, &reference).await? {
        return Ok(());
    }
    let _one_of_this_machine = lock(mirror).await?;
    if has(git, mirror, &reference).await? {
        return Ok(());
    }
    init(git, source, mirror).await?;
    let mut command = git.command();
    command
        .arg(git_dir(mirror))
        .args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--update-shallow",
        ])
        .args([
            "--no-recurse-submodules",
            "--upload-pack",
            "git -c safe.directory=* upload-pack",
        ])
        .arg("--end-of-options")
        .arg(&source.repository)
        .arg(format!("+{}:{reference}", source.commit));
    let what = format!("fetch from {}", source.repository.display());
    git.run(command, &what, mirror).await
}

async fn has(git: &Git, mirror: &Path, reference: &str) -> Result<bool, HandlerError> {
    if !mirror.join("HEAD").exists() {
        return Ok(false);
    }
    let mut command = git.command();
    command
        .arg(git_dir(mirror))
        .args(["rev-parse", "--quiet", "--verify", reference]);
    Ok(git.ask(command, "read a mirror", 4096).await?.success)
}

async fn init(git: &Git, source: &Source, mirror: &Path) -> Result<(), HandlerError> {
    clear_stale_locks(mirror);
    let format = if source.commit.len() == SHA256_HEX {
        "sha256"
    } else {
        "sha1"
    };
    let mut command = git.command();
    command
        .args(["init", "--quiet", "--bare", "--template="])
        .arg(format!("--object-format={format}"))
        .arg(mirror);
    // Harmless where it was done before, and mends one that was cut short.
    git.run(command, "create a mirror", mirror).await
}

/// Holds off other workers that share the folder.
async fn lock(mirror: &Path) -> Result<File, HandlerError> {
    let path = mirror.with_extension("lock");
    let locked = tokio::task::spawn_blocking({
        let path = path.clone();
        move || -> io::Result<File> {
            if let Some(folder) = path.parent() {
                super::folder::private_folder(folder)?;
            }
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        }
    });
    match locked.await {
        Ok(file) => file.map_err(|error| failure::io("lock", &path, &error)),
        Err(error) => Err(failure::retry("WORKER_FILES", error.to_string())),
    }
}

/// Why git knows no repository there. It reads the configuration's `include`s as well: where these lead to is not told.
fn reason(stderr: &str) -> &str {
    let first = stderr.lines().next().unwrap_or_default();
    if first.contains("config") {
        "its configuration cannot be read"
    } else {
        first
    }
}

/// A git that was killed leaves its lock files; none of ours lives longer than its patience.
fn clear_stale_locks(mirror: &Path) {
    for folder in [mirror.to_owned(), mirror.join("refs/commits")] {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let age = fs::metadata(&path)
                .and_then(|data| data.modified())
                .map(|at| at.elapsed().unwrap_or_default());
            if path.extension().is_some_and(|end| end == "lock")
                && age.is_ok_and(|age| age > 2 * PATIENCE)
            {
                let _ = fs::remove_file(path);
            }
        }
    }
}
