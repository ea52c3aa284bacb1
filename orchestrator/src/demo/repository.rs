//! What the sessions work on: the checkout that the demo stands in, the one that was named, or a small new one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

pub struct Source {
    /// The top of a git checkout with at least one commit.
    pub path: PathBuf,
    pub description: String,
    /// The files of its latest commit, by relative path.
    pub files: Vec<String>,
}

impl Source {
    /// `folder` is where a new repository may be made.
    pub async fn find(named: Option<&Path>, folder: &Path) -> anyhow::Result<Self> {
        if let Some(named) = named {
            let path = top(named).await.with_context(|| {
                format!(
                    "{} is not in a git checkout; name one with --repo",
                    named.display()
                )
            })?;
            ensure!(
                has_commit(&path).await,
                "{} has no commit yet, so there is nothing to work on",
                path.display()
            );
            let description = path.display().to_string();
            return Self::of(path, description).await;
        }
        let here = top(Path::new(".")).await;
        if let Ok(path) = here
            && has_commit(&path).await
        {
            let description = format!("{} (the checkout this stands in)", path.display());
            return Self::of(path, description).await;
        }
        let path = folder.join("repository");
        make(&path).await?;
        let description = "a small repository made for this demo, because there is no checkout with a commit here (--repo names one)";
        Self::of(path, description.to_owned()).await
    }

    async fn of(path: PathBuf, description: String) -> anyhow::Result<Self> {
        let listed = git(&path, &["ls-tree", "-r", "-z", "--name-only", "HEAD"]).await?;
        let files = listed
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        Ok(Self {
            path,
            description,
            files,
        })
    }

    /// True when it has Rust code.
    pub fn has_rust(&self) -> bool {
        self.files.iter().any(|file| has_extension(file, "rs"))
    }
}

pub fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file)
        .extension()
        .is_some_and(|found| found == extension)
}

async fn top(path: &Path) -> anyhow::Result<PathBuf> {
    let top = git(path, &["rev-parse", "--show-toplevel"]).await?;
    Ok(PathBuf::from(top.trim_end_matches('\n')).canonicalize()?)
}

async fn has_commit(path: &Path) -> bool {
    git(path, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
        .await
        .is_ok()
}

async fn git(path: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(path)
        .args(arguments)
        .output()
        .await
        .context("git cannot be started; the demo needs it")?;
    if !output.status.success() {
        bail!(
            "git {} failed in {}: {}",
            arguments.join(" "),
            path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Enough for every session of the demo to have something to do.
const FILES: [(&str, &str); 5] = [
    (
        "README.md",
        "# Tally\n\nCounts words. A text goes in, the most frequent words come out.\n",
    ),
    (
        "Cargo.toml",
        "[package]\nname = \"tally\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    ),
    (
        "src/lib.rs",
        "//! Counts words.\n\npub mod rank;\npub mod split;\n\npub use rank::most_frequent;\npub use split::words;\n",
    ),
    (
        "src/split.rs",
        "//! A text into its words.\n\n/// The words of `text`, in lower case.\npub fn words(text: &str) -> impl Iterator<Item = String> + '_ {\n    text.split(|c: char| !c.is_alphanumeric())\n        .filter(|word| !word.is_empty())\n        .map(str::to_lowercase)\n}\n",
    ),
    (
        "src/rank.rs",
        "//! Words by how often they occur.\n\nuse std::collections::HashMap;\n\nuse crate::words;\n\n/// A word and how often it occurs.\npub struct Ranked {\n    pub word: String,\n    pub count: usize,\n}\n\n/// The `n` most frequent words of `text`, the most frequent one first.\npub fn most_frequent(text: &str, n: usize) -> Vec<Ranked> {\n    let mut counts = HashMap::new();\n    for word in words(text) {\n        *counts.entry(word).or_insert(0) += 1;\n    }\n    let mut ranked: Vec<Ranked> = counts\n        .into_iter()\n        .map(|(word, count)| Ranked { word, count })\n        .collect();\n    ranked.sort_by(|a, b| b.count.cmp(&a.count).then(a.word.cmp(&b.word)));\n    ranked.truncate(n);\n    ranked\n}\n",
    ),
];

async fn make(path: &Path) -> anyhow::Result<()> {
    for (name, text) in FILES {
        let file = path.join(name);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(file, text)?;
    }
    git(path, &["init", "--quiet"]).await?;
    git(path, &["add", "--all"]).await?;
    let commit = [
        "-c",
        "user.name=demo",
        "-c",
        "user.email=demo@localhost",
        "-c",
        "commit.gpgsign=false",
        "commit",
        "--quiet",
        "--no-verify",
        "--message",
        "Count words",
    ];
    git(path, &commit).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_repository_that_is_made_can_be_worked_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repository");
        make(&path).await.unwrap();
        let source = Source::find(Some(&path.join("src")), folder.path()).await;
        let source = source.unwrap();
        assert_eq!(source.path, path.canonicalize().unwrap());
        assert!(source.has_rust());
        assert_eq!(source.files.len(), FILES.len());
    }

    #[tokio::test]
    async fn a_folder_without_a_commit_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let refused = Source::find(Some(path), path).await.err().unwrap();
        assert!(
            refused.to_string().contains("not in a git checkout"),
            "{refused}"
        );
        git(path, &["init", "--quiet"]).await.unwrap();
        let refused = Source::find(Some(path), path).await.err().unwrap();
        assert!(refused.to_string().contains("no commit"), "{refused}");
    }
}
