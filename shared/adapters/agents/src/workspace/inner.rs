//! Makes a run's tree one that git can look at without harm.
//!
//! Git looks into repositories inside the tree that its index knows: it starts itself there, with the configuration that lies
//! there, and that can name programs to run. The run wrote it, and git is not in the run's sandbox. So those are passed over.
//! And git waits for ever where it opens a pipe for a file, be it a `.gitignore`; so pipes go, which no diff could show.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use application::ports::HandlerError;

use super::git::failed;
use super::tree::Checkout;
use crate::failure;
use crate::private::PrivateFolder;

/// As the index calls a commit of another repository.
const LINK_MODE: &[u8] = b"160000 ";
/// Names on one command line.
const NAMES_AT_ONCE: usize = 200;

impl Checkout {
    /// Before git adds the tree to the index. No program of the run is alive any more.
    pub(super) async fn open_to_git(&self) -> Result<(), HandlerError> {
        // A repository inside the tree may say that its data is in the other folder.
        let private = PrivateFolder::beside(&self.tree).root().to_owned();
        let folders = [self.tree.clone(), private];
        let removed =
            tokio::task::spawn_blocking(move || folders.iter().for_each(|it| remove_pipes(it)));
        removed
            .await
            .map_err(|error| failure::retry("WORKER_FILES", error.to_string()))?;
        self.pass_over_inner().await
    }

    /// Of those whose folder is gone, git sees that they are gone, without looking into them.
    async fn pass_over_inner(&self) -> Result<(), HandlerError> {
        let is_there = |link: &Vec<u8>| {
            let path = self.tree.join(OsStr::from_bytes(link));
            path.symlink_metadata().is_ok_and(|found| found.is_dir())
        };
        let (there, gone): (Vec<_>, Vec<_>) = self.links().await?.into_iter().partition(is_there);
        for (mark, links) in [("--skip-worktree", there), ("--no-skip-worktree", gone)] {
            for names in links.chunks(NAMES_AT_ONCE) {
                let mut command = self.outside();
                command.args(["update-index", mark, "--"]);
                command.args(names.iter().map(|name| OsStr::from_bytes(name)));
                let what = "pass over the repositories inside the tree";
                self.looks.run(command, what, &self.diff).await?;
            }
        }
        Ok(())
    }

    /// The names of repositories that the kept index knows.
    async fn links(&self) -> Result<Vec<Vec<u8>>, HandlerError> {
        let mut command = self.outside();
        command.args(["ls-files", "--stage", "-z"]);
        let mut links = Links::default();
        let mut take = |chunk: &[u8]| {
            links.read(chunk);
            true
        };
        let what = "list the files";
        let said = self.looks.tell(command, what, &mut take).await?;
        if !said.success {
            return Err(failed(what, &said.stderr, &self.diff));
        }
        Ok(links.found)
    }
}

/// Reads `MODE OBJECT STAGE TAB NAME NUL`, in pieces.
#[derive(Default)]
struct Links {
    entry: Vec<u8>,
    found: Vec<Vec<u8>>,
}

impl Links {
    fn read(&mut self, chunk: &[u8]) {
        for piece in chunk.split_inclusive(|&byte| byte == 0) {
            let Some(last) = piece.strip_suffix(b"\0") else {
                self.entry.extend_from_slice(piece);
                continue;
            };
            self.entry.extend_from_slice(last);
            let entry = std::mem::take(&mut self.entry);
            let tab = entry.iter().position(|&byte| byte == b'\t');
            if let Some(tab) = tab.filter(|_| entry.starts_with(LINK_MODE)) {
                self.found.push(entry[tab + 1..].to_vec());
            }
        }
    }
}

/// What cannot be read here cannot be read by git either.
fn remove_pipes(root: &Path) {
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_fifo() => {
                    let path = entry.path();
                    if let Err(error) = fs::remove_file(&path) {
                        tracing::warn!(pipe = %path.display(), %error, "a run's pipe was not removed");
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_wherever_the_pieces_end() {
        let listed = b"100644 aa 0\tfile\x00160000 bb 0\tsub/one\x00160000 cc 0\ttab\tbed\0";
        for size in 1..listed.len() {
            let mut links = Links::default();
            listed.chunks(size).for_each(|chunk| links.read(chunk));
            assert_eq!(links.found, [b"sub/one".to_vec(), b"tab\tbed".to_vec()]);
        }
    }
}
