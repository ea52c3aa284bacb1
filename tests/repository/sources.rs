//! What our sources look like: finished, in small files, and runnable where they are to be run.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::files;

/// A file of code that is longer is about more than one thing.
const LINES_MAX: usize = 600;
const CODE: &[&str] = &["rs", "sql", "sh", "py", "js", "css", "html", "lua"];
/// Brought from elsewhere, with their licences, as they are.
const VENDORED: &str = "vendor";

fn is_vendored(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == VENDORED)
}

/// Words that stand where work is missing. Written in two halves, so that this file does not contain them.
fn unfinished() -> [String; 6] {
    [
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
        ["#[ig", "nore"].concat(),
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["HA", "CK:"].concat(),
    ]
}

fn is_script(path: &Path) -> bool {
    files::text(path).starts_with("#!")
        && path.extension().is_none_or(|extension| extension != "rs")
}

fn is_code(path: &Path) -> bool {
    let known = path
        .extension()
        .is_some_and(|other| CODE.iter().any(|code| other == *code));
    (known || is_script(path)) && !is_vendored(path)
}

fn code() -> Vec<PathBuf> {
    let mut paths = files::all();
    paths.retain(|path| is_code(path));
    assert!(paths.len() > 100, "only {} files of code", paths.len());
    paths
}

#[test]
fn nothing_is_left_unfinished() {
    let mut found = Vec::new();
    for path in code() {
        let text = files::text(&path);
        for (number, line) in text.lines().enumerate() {
            for word in unfinished() {
                if line.contains(&word) {
                    found.push(format!(
                        "{}:{}: {}",
                        path.display(),
                        number + 1,
                        line.trim()
                    ));
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "finish these, or leave them out: {found:#?}"
    );
}

#[test]
fn files_of_code_are_short() {
    let long: Vec<String> = code()
        .iter()
        .map(|path| (path, files::text(path).lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "split these: {long:#?}");
}

#[test]
fn scripts_can_be_executed() {
    let scripts: Vec<PathBuf> = files::all()
        .into_iter()
        .filter(|path| is_script(path))
        .collect();
    for expected in [".ci/run", "scripts/services", "scripts/test"] {
        assert!(
            scripts.iter().any(|path| path == Path::new(expected)),
            "no script {expected}"
        );
    }
    let wrong: Vec<&PathBuf> = scripts
        .iter()
        .filter(|path| {
            let metadata = std::fs::metadata(files::root().join(path)).unwrap();
            metadata.permissions().mode() & 0o111 != 0o111
        })
        .collect();
    assert!(wrong.is_empty(), "not executable: {wrong:?}");
}

/// A module says at its head why it is there.
#[test]
fn every_crate_says_what_it_is_for() {
    let silent: Vec<PathBuf> = files::with_extension("rs")
        .into_iter()
        .filter(|path| path.ends_with("src/lib.rs") || path.ends_with("src/main.rs"))
        .filter(|path| !files::text(path).starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "no word at the head of {silent:?}");
}
