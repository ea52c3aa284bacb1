//! The folders below which jobs may read local paths. The operator names them; a tenant cannot talk its way out, nor into
//! what is the installation's own and lies below one of them: there are other tenants' worktrees, and keys.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Checked after symbolic links are resolved, so that a link inside a root does not lead out of it.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    open: Vec<PathBuf>,
    /// Below a root, and not to be read all the same; what is open again below one of these is open.
    closed: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("{} does not exist on the worker", .0.display())]
    Missing(PathBuf),
    #[error("{} cannot be read by the worker: {error}", .path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    /// Where a link leads to is not said: it would tell what exists outside.
    #[error(
        "{} is outside the folders that jobs may use on this worker{}; its operator names them in ORCHESTRATOR_ROOTS",
        .path.display(),
        named(.roots)
    )]
    Outside { path: PathBuf, roots: Vec<PathBuf> },
    /// Whether it is there is not said.
    #[error(
        "{} belongs to the installation itself, or is hidden by its operator: jobs may not use it",
        .0.display()
    )]
    Closed(PathBuf),
}

fn named(roots: &[PathBuf]) -> String {
    if roots.is_empty() {
        return " (none are configured)".to_owned();
    }
    let names: Vec<String> = roots
        .iter()
        .map(|root| root.display().to_string())
        .collect();
    format!(" ({})", names.join(", "))
}

impl Roots {
    pub const fn new(open: Vec<PathBuf>) -> Self {
        Self {
            open,
            closed: Vec::new(),
        }
    }

    /// Without the files and folders of `closed`, and what lies below them.
    #[must_use]
    pub fn without(mut self, closed: Vec<PathBuf>) -> Self {
        self.closed.extend(closed);
        self
    }

    /// The real path behind `path`, which is below a root.
    pub fn admit(&self, path: &Path) -> Result<PathBuf, RootsError> {
        let refused = |open: bool| {
            let path = path.to_owned();
            let roots = self.open.clone();
            if open {
                RootsError::Closed(path)
            } else {
                RootsError::Outside { path, roots }
            }
        };
        let resolved = Places::new(resolved(&self.open), resolved(&self.closed));
        // What is refused by its very name is not looked at: whether it exists is nobody's business.
        let named = Places::new(self.open.clone(), self.closed.clone());
        let [named, really] = [named.of(path), resolved.of(path)];
        if named == Place::Closed || really == Place::Closed {
            return Err(refused(true));
        }
        if !path.is_absolute() || named == Place::Outside && really == Place::Outside {
            return Err(refused(false));
        }
        let real = fs::canonicalize(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                RootsError::Missing(path.to_owned())
            }
            _ => RootsError::Unreadable {
                path: path.to_owned(),
                error,
            },
        })?;
        match resolved.of(&real) {
            Place::Open => Ok(real),
            Place::Closed => Err(refused(true)),
            Place::Outside => Err(refused(false)),
        }
    }

    /// True when a path that is real already is one that jobs may read.
    pub fn contain(&self, real: &Path) -> bool {
        let places = Places::new(resolved(&self.open), resolved(&self.closed));
        places.of(real) == Place::Open
    }
}

/// Resolved at every use: a root may be mounted later than the worker starts.
fn resolved(paths: &[PathBuf]) -> Vec<PathBuf> {
    let resolved = paths.iter().map(fs::canonicalize);
    resolved.filter_map(Result::ok).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Open,
    Closed,
    Outside,
}

struct Places {
    open: Vec<PathBuf>,
    closed: Vec<PathBuf>,
}

impl Places {
    const fn new(open: Vec<PathBuf>, closed: Vec<PathBuf>) -> Self {
        Self { open, closed }
    }

    /// The innermost folder that is named decides; of one that is named as both, that it is closed.
    fn of(&self, path: &Path) -> Place {
        let innermost = |folders: &[PathBuf]| {
            let above = folders.iter().filter(|folder| path.starts_with(folder));
            above.map(|folder| folder.components().count()).max()
        };
        match (innermost(&self.open), innermost(&self.closed)) {
            (None, _) => Place::Outside,
            (open, closed) if closed >= open => Place::Closed,
            _ => Place::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_really_lies_below_a_root_is_admitted() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let root = base.join("allowed");
        fs::create_dir_all(root.join("inner")).unwrap();
        fs::create_dir_all(base.join("secret")).unwrap();
        fs::create_dir_all(base.join("allowed-not")).unwrap();
        symlink(base.join("secret"), root.join("escape")).unwrap();
        symlink(&root, base.join("alias")).unwrap();
        let roots = Roots::new(vec![root.clone(), base.join("missing-root")]);

        assert_eq!(
            roots.admit(&root.join("inner")).unwrap(),
            root.join("inner")
        );
        assert_eq!(roots.admit(&root).unwrap(), root);
        for outside in [
            base.join("secret"),
            base.join("allowed-not"),
            root.join("escape"),
            root.join("../secret"),
            base.join("nothing-there"),
            PathBuf::from("relative"),
        ] {
            let error = roots.admit(&outside).unwrap_err();
            assert!(
                matches!(error, RootsError::Outside { .. }),
                "{outside:?}: {error}"
            );
            assert!(error.to_string().contains("ORCHESTRATOR_ROOTS"));
        }
        let missing = roots.admit(&root.join("none")).unwrap_err();
        assert!(matches!(missing, RootsError::Missing(_)), "{missing}");
        // A root that is itself a link is followed.
        let alias = Roots::new(vec![base.join("alias")]);
        assert_eq!(
            alias.admit(&base.join("alias/inner")).unwrap(),
            root.join("inner")
        );
        let nothing = Roots::default().admit(&root).unwrap_err().to_string();
        assert!(nothing.contains("none are configured"), "{nothing}");
    }

    #[test]
    fn what_is_the_installations_own_is_closed_although_it_lies_below_a_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let data = root.join("data");
        for part in ["work/runs/1/tree", "repos/shop"] {
            fs::create_dir_all(data.join(part)).unwrap();
        }
        fs::write(root.join("key"), "secret").unwrap();
        symlink(&data, root.join("alias")).unwrap();
        symlink(root.join("key"), root.join("key-too")).unwrap();
        let closed = vec![root.join("alias"), root.join("key")];
        let roots = Roots::new(vec![root.clone(), data.join("repos")]).without(closed);
        assert!(roots.admit(&root).is_ok());
        assert!(roots.admit(&data.join("repos/shop")).is_ok(), "open again");
        assert!(roots.contain(&data.join("repos/shop")) && !roots.contain(&data.join("work")));
        for closed in [
            "data",
            "data/work/runs/1/tree",
            "data/not-there",
            "alias/work",
            "data/repos/../work",
            "key",
            "key-too",
        ] {
            let error = roots.admit(&root.join(closed)).unwrap_err();
            assert!(matches!(error, RootsError::Closed(_)), "{closed}: {error}");
        }
    }
}
