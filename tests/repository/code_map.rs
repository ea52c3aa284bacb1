//! The README's code map names what exists, and every folder at the top is on it.
//!
//! The map is the table under the heading "Code map": paths in backticks, those of the first column from the root,
//! those of the others from the root or from the row's own folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::files;

const README: &str = "README.md";

/// A row of the map.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    named: Vec<PathBuf>,
    mentioned: Vec<PathBuf>,
}

/// The rows of the table under the heading that contains `heading`.
fn rows(text: &str, heading: &str) -> Vec<Row> {
    let mut in_section = false;
    let mut rows = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            in_section = line.to_lowercase().contains(heading);
        } else if in_section && line.starts_with('|') {
            let (_, cells) = line.split_once('|').unwrap();
            let (first, others) = cells.split_once('|').unwrap_or((cells, ""));
            rows.push(Row {
                named: paths(first),
                mentioned: paths(others),
            });
        }
    }
    rows.retain(|row| !row.named.is_empty());
    rows
}

/// The paths in backticks.
fn paths(text: &str) -> Vec<PathBuf> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| looks_like_path(word))
        .map(PathBuf::from)
        .collect()
}

/// A word that can only be a path from somewhere: `shared/domain/`, `scripts/test`.
fn looks_like_path(word: &str) -> bool {
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    plain && word.contains('/') && !word.starts_with('/')
}

fn map() -> Vec<Row> {
    let rows = rows(&files::text(Path::new(README)), "code map");
    assert!(
        rows.len() > 5,
        "{README} has no table under a heading `Code map`: {rows:?}"
    );
    rows
}

fn first_part(path: &Path) -> PathBuf {
    path.components().take(1).collect()
}

#[test]
fn every_path_of_the_map_exists() {
    let root = files::root();
    let mut missing = Vec::new();
    for row in map() {
        missing.extend(
            row.named
                .iter()
                .filter(|path| !root.join(path).exists())
                .cloned(),
        );
        let below_row = |path: &Path| {
            row.named
                .iter()
                .any(|folder| root.join(folder).join(path).exists())
        };
        let gone = |path: &&PathBuf| !root.join(path).exists() && !below_row(path);
        missing.extend(row.mentioned.iter().filter(gone).cloned());
    }
    assert!(
        missing.is_empty(),
        "{README} names what is not there: {missing:?}"
    );
}

/// Recipes name paths as well: whatever begins with one of our folders is one.
#[test]
fn every_path_of_the_readme_exists() {
    let text = files::text(Path::new(README));
    let ours: BTreeSet<PathBuf> = map()
        .iter()
        .flat_map(|row| &row.named)
        .map(|path| first_part(path))
        .collect();
    let missing: Vec<PathBuf> = paths_outside_blocks(&text)
        .into_iter()
        .filter(|path| ours.contains(&first_part(path)) && !files::root().join(path).exists())
        .collect();
    assert!(
        missing.is_empty(),
        "{README} names what is not there: {missing:?}"
    );
}

/// Blocks of code show commands and drawings.
fn paths_outside_blocks(text: &str) -> Vec<PathBuf> {
    let mut in_block = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            found.extend(paths(line));
        }
    }
    found
}

#[test]
fn every_folder_at_the_top_is_on_the_map() {
    let named: BTreeSet<PathBuf> = map()
        .iter()
        .flat_map(|row| &row.named)
        .map(|path| first_part(path))
        .collect();
    let missing: BTreeSet<PathBuf> = files::all()
        .iter()
        .filter(|path| path.components().count() > 1)
        .map(|path| first_part(path))
        // Folders for tools, hidden from whoever looks around.
        .filter(|folder| !folder.to_string_lossy().starts_with('.'))
        .filter(|folder| !named.contains(folder))
        .collect();
    assert!(missing.is_empty(), "{README}'s map leaves out {missing:?}");
}

#[test]
fn a_map_is_understood() {
    let text = "# X\n| `no/path` | |\n## The code map\n| path | what |\n|---|---|\n\
                | `a/`, `b/c/` | see `src/x.rs`, `a word` and `name` |\n## Next\n| `not/this` | |\n";
    let expected = Row {
        named: vec!["a/".into(), "b/c/".into()],
        mentioned: vec!["src/x.rs".into()],
    };
    assert_eq!(rows(text, "code map"), [expected]);
    assert_eq!(
        paths_outside_blocks("`a/b`\n```\n`c/d`\n```\n"),
        [PathBuf::from("a/b")]
    );
}
