//! Writes what an agent made into the run's worktree. The paths are an agent's words: nothing is written before all of
//! them are known to stay inside, and no symbolic link is ever followed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use application::ports::HandlerError;
use domain::is_inside;
use nix::fcntl::OFlag;

use super::answer::Artifact;
use crate::failure::{self, fail};

/// Files of one result.
pub const ARTIFACTS_MAX: usize = 200;
/// Of one file.
pub const ARTIFACT_BYTES: usize = 4 * 1024 * 1024;

/// Writes all of them, or says why none can be. The worktree is this run's alone, and nobody else changes it meanwhile.
pub(super) async fn write(directory: &Path, artifacts: Vec<Artifact>) -> Result<(), HandlerError> {
    let directory = directory.to_owned();
    let written = tokio::task::spawn_blocking(move || write_all(&directory, &artifacts)).await;
    written.unwrap_or_else(|error| Err(failure::retry("WORKER_FILES", error.to_string())))
}

fn write_all(directory: &Path, artifacts: &[Artifact]) -> Result<(), HandlerError> {
    if artifacts.len() > ARTIFACTS_MAX {
        return Err(fail(
            "EAP_BAD_ARTIFACT",
            format!(
                "the agent made {} files; at most {ARTIFACTS_MAX} are taken",
                artifacts.len()
            ),
        ));
    }
    for artifact in artifacts {
        check(directory, artifact)?;
    }
    for artifact in artifacts {
        let path = directory.join(&artifact.path);
        put(directory, &path, artifact).map_err(|error| match error.kind() {
            // Two of them cannot be there together: `a` and `a/b`.
            io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::AlreadyExists => {
                bad(&artifact.path, "is a file where another one needs a folder")
            }
            _ => failure::io("write", &path, &error),
        })?;
    }
    Ok(())
}

fn check(directory: &Path, artifact: &Artifact) -> Result<(), HandlerError> {
    let path = &artifact.path;
    if !is_inside(path) {
        return Err(bad(
            path,
            "must be a relative path that stays inside the worktree",
        ));
    }
    if artifact.content.len() > ARTIFACT_BYTES {
        return Err(bad(path, &format!("has more than {ARTIFACT_BYTES} bytes")));
    }
    let last = path.matches('/').count();
    let mut place = PathBuf::from(directory);
    for (index, part) in path.split('/').enumerate() {
        place.push(part);
        let Ok(found) = fs::symlink_metadata(&place) else {
            return Ok(());
        };
        let fits = if index == last {
            found.is_file()
        } else {
            found.is_dir()
        };
        if !fits {
            return Err(bad(
                path,
                "leads over a link, or is a folder where a file is to be, or the other way round",
            ));
        }
    }
    Ok(())
}

fn put(directory: &Path, path: &Path, artifact: &Artifact) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| *folder != directory) {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    file.write_all(artifact.content.as_bytes())
}

fn bad(path: &str, why: &str) -> HandlerError {
    let path: String = path.chars().take(200).collect();
    let path = path.replace('\0', "\u{fffd}");
    fail(
        "EAP_BAD_ARTIFACT",
        format!("the agent's file `{path}` {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str) -> Artifact {
        Artifact {
            path: path.to_owned(),
            content: content.to_owned(),
            mime_type: None,
        }
    }

    #[test]
    fn files_go_where_they_say_over_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("old"), "a long text that was there").unwrap();
        let made = [file("a/b/c.txt", "new"), file("old", "short")];
        write_all(folder.path(), &made).unwrap();
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!(
            (read("a/b/c.txt"), read("old")),
            ("new".to_owned(), "short".to_owned())
        );
    }

    #[test]
    fn nothing_is_written_when_one_leads_outside() {
        let outer = tempfile::tempdir().unwrap();
        let tree = outer.path().join("tree");
        fs::create_dir_all(tree.join("folder")).unwrap();
        fs::create_dir(outer.path().join("secret")).unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret"), tree.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", tree.join("dangling")).unwrap();
        let long = "x".repeat(ARTIFACT_BYTES + 1);
        for (path, content) in [
            ("../escaped", ""),
            ("/etc/passwd", ""),
            (".git/config", ""),
            (".GIT/hooks/x", ""),
            ("a/.Git", ""),
            ("a/../../b", ""),
            ("", ""),
            ("a\0b", ""),
            ("link/x", ""),
            ("link", ""),
            ("dangling", ""),
            ("folder", ""),
            ("long", &long),
        ] {
            let made = [file("good", "good"), file(path, content)];
            let error = write_all(&tree, &made).unwrap_err().to_string();
            assert!(error.contains("EAP_BAD_ARTIFACT"), "{path}: {error}");
            assert!(!tree.join("good").exists(), "{path}");
        }
        assert_eq!(
            fs::read_dir(outer.path().join("secret")).unwrap().count(),
            0
        );
        let many = vec![file("a", ""); ARTIFACTS_MAX + 1];
        assert!(write_all(&tree, &many).is_err());
        let clash = [file("n", ""), file("n/m", "")];
        let error = write_all(&tree, &clash).unwrap_err().to_string();
        assert!(error.contains("EAP_BAD_ARTIFACT"), "{error}");
    }
}
