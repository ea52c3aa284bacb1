//! Training examples out of the repository's own texts: a JSONL file with a paragraph an example.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::repository::{Source, has_extension};

/// Enough for the loss to fall, little enough for a few seconds.
const BYTES: usize = 120 * 1024;
const EXAMPLE_BYTES: usize = 2000;
/// Texts come first: they read best. Code makes up for what they lack.
const KINDS: [&str; 10] = [
    "md", "txt", "rst", "rs", "py", "go", "js", "ts", "java", "c",
];

/// Writes the file into `folder`.
pub fn write(source: &Source, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("examples.jsonl");
    let mut lines = String::new();
    for kind in KINDS {
        for file in source.files.iter().filter(|file| has_extension(file, kind)) {
            if lines.len() >= BYTES {
                break;
            }
            add(&mut lines, &source.path.join(file));
        }
    }
    if lines.is_empty() {
        // Not a single text that we know: their names are texts, too.
        for file in source.files.iter().take(1000) {
            let _ = writeln!(lines, "{}", json!({"text": file}));
        }
    }
    fs::write(&path, lines).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

fn add(lines: &mut String, file: &Path) {
    // Not in the checkout any more, a link to nowhere, or not a text: others are.
    let Ok(text) = fs::read_to_string(file) else {
        return;
    };
    for paragraph in text.split("\n\n") {
        let paragraph = paragraph.trim();
        if !paragraph.is_empty() && paragraph.len() <= EXAMPLE_BYTES && lines.len() < BYTES {
            let _ = writeln!(lines, "{}", json!({"text": paragraph}));
        }
    }
}
