//! The folders below which jobs may read local paths. The operator names them; a tenant cannot talk its way out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Checked after symbolic links are resolved, so that a link inside a root does not lead out of it.
#[derive(Debug, Clone, Default)]
pub struct Roots(Vec<PathBuf>);

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
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self(roots)
    }

    /// The real path behind `path`, which is below a root.
    pub fn admit(&self, path: &Path) -> Result<PathBuf, RootsError> {
        let outside = || RootsError::Outside {
            path: path.to_owned(),
            roots: self.0.clone(),
        };
        // What is outside by its very name is not looked at: whether it exists is nobody's business.
        let named_inside = path.is_absolute() && self.0.iter().any(|root| path.starts_with(root));
        let resolved = self.resolved();
        if !named_inside && !resolved.iter().any(|root| path.starts_with(root)) {
            return Err(outside());
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
        if resolved.iter().any(|root| real.starts_with(root)) {
            Ok(real)
        } else {
            Err(outside())
        }
    }

    /// True when a path that is real already lies below a root.
    pub fn contain(&self, real: &Path) -> bool {
        self.resolved().iter().any(|root| real.starts_with(root))
    }

    /// Resolved at every use: a root may be mounted later than the worker starts.
    fn resolved(&self) -> Vec<PathBuf> {
        self.0
            .iter()
            .filter_map(|root| fs::canonicalize(root).ok())
            .collect()
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
}
