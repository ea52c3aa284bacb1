//! The structured output that an agent hands over in a file.
//!
//! Files are the agent's: nothing outside of its own folders is read, whatever they link to, and no pipe is waited for.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use domain::{OUTPUT_BYTES_MAX, OUTPUT_FILE};
use nix::fcntl::OFlag;

use crate::output::Redactor;
use crate::private::PrivateFolder;

/// Where a program is told to write it: beside the worktree, so that it is no part of the diff.
pub(crate) fn place(private: &PrivateFolder) -> PathBuf {
    private.file(OUTPUT_FILE)
}

/// What was written there or, where nothing was, to `output.json` in the worktree; without secrets. A little longer
/// than allowed when it is too long.
pub(crate) fn read(directory: &Path, redactor: &Redactor) -> Option<String> {
    let own = place(&PrivateFolder::beside(directory));
    let text = text_of(&own, directory.parent()?)
        .or_else(|| text_of(&directory.join(OUTPUT_FILE), directory));
    text.map(|text| redactor.once(&text))
}

fn text_of(path: &Path, root: &Path) -> Option<String> {
    let root = root.canonicalize().ok()?;
    let real = path
        .canonicalize()
        .ok()
        .filter(|real| real.starts_with(&root))?;
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(real)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last block of JSON in what a model said, or all of it where it is nothing else.
pub(crate) fn block(text: &str) -> Option<String> {
    const FENCE: &str = "```";
    if let Some((_, rest)) = text.rsplit_once("```json") {
        let block = rest.split_once(FENCE).map_or(rest, |(block, _)| block);
        return Some(block.trim().to_owned());
    }
    let text = text.trim();
    text.starts_with(['{', '[']).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_last_block_counts() {
        assert_eq!(
            block("It is:\n```json\n{\"a\": 1}\n```\nor\n```json\n[2]\n```\n").unwrap(),
            "[2]"
        );
        assert_eq!(block(" {\"a\": 1}\n").unwrap(), "{\"a\": 1}");
        assert_eq!(block("nothing"), None);
    }

    #[test]
    fn nothing_outside_is_read() {
        let base = tempfile::tempdir().unwrap();
        let run = base.path().join("run");
        let tree = run.join("tree");
        let private = PrivateFolder::beside(&tree);
        std::fs::create_dir_all(&tree).unwrap();
        private.create().unwrap();
        let redactor = Redactor::new(vec!["a-long-secret".to_owned()]);
        assert_eq!(read(&tree, &redactor), None);
        std::fs::write(base.path().join("other"), "secret").unwrap();
        symlink(base.path().join("other"), tree.join(OUTPUT_FILE)).unwrap();
        assert_eq!(read(&tree, &redactor), None);
        std::fs::remove_file(tree.join(OUTPUT_FILE)).unwrap();
        std::fs::write(tree.join(OUTPUT_FILE), "\"a-long-secret\"").unwrap();
        assert_eq!(read(&tree, &redactor).unwrap(), "\"[redacted]\"");
        std::fs::write(place(&private), "2").unwrap();
        assert_eq!(read(&tree, &redactor).unwrap(), "2");
    }
}
