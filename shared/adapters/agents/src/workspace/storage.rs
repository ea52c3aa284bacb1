//! Where a user's repository keeps what it stores. Git follows links and alternates wherever they lead, as the worker's user:
//! a repository below a root must not be a way around the roots.
//!
//! Looks before git does, and no closer: whoever can change a repository while it is read is trusted with the machine.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::roots::{Roots, RootsError};

/// Git itself goes no deeper.
const ALTERNATES_DEPTH: usize = 5;
const ALTERNATES_BYTES: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum StorageError {
    #[error(transparent)]
    Elsewhere(#[from] RootsError),
    #[error("{} cannot be understood: {why}", .file.display())]
    Alternates { file: PathBuf, why: &'static str },
    #[error("{} cannot be read: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// That git finds nothing by way of the repository whose common folder is `folder` which jobs may not use. Blocks: reads
/// the names of all loose objects.
pub(super) fn check(folder: &Path, roots: &Roots) -> Result<(), StorageError> {
    let folder = roots.admit(folder)?;
    let mut seen = HashSet::new();
    let mut open = vec![(folder.join("objects"), 0)];
    while let Some((objects, depth)) = open.pop() {
        let Some(objects) = admitted(&objects, roots)? else {
            continue;
        };
        if !seen.insert(objects.clone()) {
            continue;
        }
        // Those by their first byte, packs, and what is known about them.
        for inner in links_admitted(&objects, roots)? {
            links_admitted(&inner, roots)?;
        }
        let alternates = alternates(&objects)?;
        if depth == ALTERNATES_DEPTH && !alternates.is_empty() {
            let file = alternates_file(&objects);
            let why = "it is the last of too many";
            return Err(StorageError::Alternates { file, why });
        }
        open.extend(alternates.into_iter().map(|path| (path, depth + 1)));
    }
    Ok(())
}

/// The real path; `None` where nothing is.
fn admitted(path: &Path, roots: &Roots) -> Result<Option<PathBuf>, RootsError> {
    match roots.admit(path) {
        Ok(real) => Ok(Some(real)),
        Err(RootsError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The folders in `folder`, of which no link leads out.
fn links_admitted(folder: &Path, roots: &Roots) -> Result<Vec<PathBuf>, StorageError> {
    let failed = |error| StorageError::Io {
        path: folder.to_owned(),
        error,
    };
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            folders.push(entry.path());
        } else if kind.is_symlink()
            && let Some(real) = admitted(&entry.path(), roots)?
            && real.is_dir()
        {
            folders.push(real);
        }
    }
    Ok(folders)
}

fn alternates_file(objects: &Path) -> PathBuf {
    objects.join("info/alternates")
}

fn alternates(objects: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let file = alternates_file(objects);
    let cannot = |why| StorageError::Alternates {
        file: file.clone(),
        why,
    };
    let text = match fs::metadata(&file) {
        Ok(data) if data.len() > ALTERNATES_BYTES => return Err(cannot("it is too long")),
        Ok(data) if !data.is_file() => return Err(cannot("it is no file")),
        Ok(_) => fs::read_to_string(&file),
        Err(error) => Err(error),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(cannot("it is not UTF-8"));
        }
        Err(error) => return Err(StorageError::Io { path: file, error }),
    };
    let mut paths = Vec::new();
    for line in text.lines() {
        match line.chars().next() {
            None | Some('#') => {}
            Some('"') => return Err(cannot("it has a path in quotes")),
            Some(_) => paths.push(objects.join(line)),
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A root with a bare repository `repo` and an object store `other/objects`; a store `secret/objects` beside the root.
    fn place() -> (tempfile::TempDir, Roots) {
        let place = tempfile::tempdir().unwrap();
        for folder in [
            "root/repo/objects/info",
            "root/repo/objects/aa",
            "root/repo/objects/pack",
        ] {
            fs::create_dir_all(place.path().join(folder)).unwrap();
        }
        for folder in ["root/other/objects/info", "secret/objects/aa"] {
            fs::create_dir_all(place.path().join(folder)).unwrap();
        }
        fs::write(place.path().join("secret/objects/aa/bb"), "x").unwrap();
        let roots = Roots::new(vec![place.path().join("root")]);
        (place, roots)
    }

    fn is_refused(place: &Path, roots: &Roots) -> bool {
        match check(&place.join("root/repo"), roots) {
            Ok(()) => false,
            Err(StorageError::Elsewhere(error)) => {
                assert!(matches!(error, RootsError::Outside { .. }), "{error}");
                true
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn links_that_lead_out_are_found_wherever_git_would_follow_them() {
        for link in [
            "objects/bb",
            "objects/aa/cc",
            "objects/pack/p.pack",
            "objects/info/alternates",
        ] {
            let (place, roots) = place();
            assert!(!is_refused(place.path(), &roots));
            let target = place.path().join("secret/objects/aa/bb");
            let link = place.path().join("root/repo").join(link);
            symlink(&target, &link).unwrap();
            assert!(is_refused(place.path(), &roots), "{link:?}");
        }
        let (place, roots) = place();
        let objects = place.path().join("root/repo/objects");
        fs::remove_dir_all(&objects).unwrap();
        symlink(place.path().join("secret/objects"), &objects).unwrap();
        assert!(is_refused(place.path(), &roots));
    }

    #[test]
    fn alternates_are_followed_to_their_end() {
        let (place, roots) = place();
        let write = |of: &str, text: &str| {
            let file = place
                .path()
                .join("root")
                .join(of)
                .join("objects/info/alternates");
            fs::write(file, text).unwrap();
        };
        // Into each other, to nothing, and relative to the store.
        write("repo", "# one\n../../other/objects\n../../none\n");
        let back = place.path().join("root/repo/objects");
        write("other", &format!("{}\n", back.display()));
        assert!(!is_refused(place.path(), &roots));
        write("other", "../../../secret/objects\n");
        assert!(is_refused(place.path(), &roots));
        write("other", "\"../../../secret/objects\"\n");
        let error = check(&place.path().join("root/repo"), &roots).unwrap_err();
        assert!(error.to_string().contains("in quotes"), "{error}");
    }
}
