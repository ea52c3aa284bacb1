//! The codes that jobs fail with are all told, and nothing else is: people look them up, and programs branch on them.

use std::collections::BTreeSet;
use std::path::Path;

use crate::files;

/// Where runs and jobs are failed.
const FAILING: [&str; 6] = [
    "shared/domain/src",
    "shared/adapters/agents/src",
    "shared/adapters/training/src",
    "shared/adapters/postgres/src",
    "shared/adapters/sqlite/src",
    "workers/src",
];
/// What environment variables that look like codes begin with.
const VARIABLES: [&str; 18] = [
    "AWS_",
    "CARGO_PKG_",
    "GIT_ALTERNATE_",
    "GIT_AUTHOR_",
    "GIT_ATTR_",
    "GIT_CEILING_",
    "GIT_COMMITTER_",
    "GIT_CONFIG_",
    "GIT_INDEX_",
    "GIT_NO_",
    "GIT_OBJECT_",
    "GIT_OPTIONAL_",
    "GIT_TERMINAL_",
    "MODEL_URL",
    "OPENCODE_DISABLE_",
    "OPENCODE_SERVER_",
    "ORCHESTRATOR_",
    "XDG_",
];

fn looks_like_code(text: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase());
    text.contains('_')
        && text.split('_').all(word)
        && text != "LC_ALL"
        && !VARIABLES.iter().any(|start| text.starts_with(start))
}

fn thrown() -> BTreeSet<String> {
    let sources = files::with_extension("rs");
    let failing = sources.iter().filter(|path| {
        FAILING.iter().any(|folder| path.starts_with(folder))
            && path.file_stem().is_some_and(|name| name != "tests")
    });
    let mut codes = BTreeSet::new();
    for path in failing {
        let text = files::text(path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let literals = code.split('"').filter(|text| looks_like_code(text));
        codes.extend(literals.map(str::to_owned));
    }
    codes
}

fn told() -> BTreeSet<String> {
    let text = files::text(Path::new("docs/errors.md"));
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(code, _)| code.to_owned())
        .collect()
}

#[test]
fn every_code_that_a_job_fails_with_is_told() {
    let (thrown, told) = (thrown(), told());
    assert!(thrown.len() > 30, "the sources are not read: {thrown:?}");
    let untold: Vec<&String> = thrown.difference(&told).collect();
    assert!(untold.is_empty(), "docs/errors.md does not tell {untold:?}");
    let gone: Vec<&String> = told.difference(&thrown).collect();
    assert!(
        gone.is_empty(),
        "docs/errors.md tells of {gone:?}, which nothing fails with"
    );
}
