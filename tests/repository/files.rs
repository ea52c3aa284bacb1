//! The files of the checkout: those that git knows, and new ones that it does not ignore.

use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Paths relative to the root, sorted.
pub fn all() -> Vec<PathBuf> {
    let output = Command::new("git")
        .current_dir(root())
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .expect("git can be started");
    assert!(
        output.status.success(),
        "these rules are about a git checkout"
    );
    let mut paths: Vec<PathBuf> = String::from_utf8(output.stdout)
        .expect("paths are UTF-8")
        .split_terminator('\0')
        .map(PathBuf::from)
        // Deleted, and not committed yet.
        .filter(|path| root().join(path).is_file())
        .collect();
    paths.sort();
    paths.dedup();
    assert!(
        paths.len() > 50,
        "git knows only {} files here",
        paths.len()
    );
    paths
}

pub fn with_extension(extension: &str) -> Vec<PathBuf> {
    let mut paths = all();
    paths.retain(|path| path.extension().is_some_and(|other| other == extension));
    paths
}

pub fn text(path: &Path) -> String {
    let bytes = std::fs::read(root().join(path));
    let bytes = bytes.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The workspace as cargo sees it on this kind of machine.
pub fn metadata() -> Metadata {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--filter-platform".to_owned(), target])
        .exec()
        .expect("cargo metadata")
}
