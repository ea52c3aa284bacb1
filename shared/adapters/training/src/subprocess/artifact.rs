//! A trainer's claim is checked: the file is there, inside its folder, and it is what the trainer says it is.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use adapter_agents::failure::{self, fail};
use application::ports::HandlerError;
use sha2::{Digest, Sha256};

use super::messages::Done;

/// A model file whose hash was counted by us.
#[derive(Debug)]
pub(super) struct Model {
    pub path: PathBuf,
    pub name: String,
    pub media_type: &'static str,
    pub sha256: String,
    pub bytes: u64,
}

pub(super) async fn verify(output: &Path, done: &Done) -> Result<Model, HandlerError> {
    let (output, done) = (output.to_owned(), done.clone());
    let verified = tokio::task::spawn_blocking(move || check(&output, &done));
    verified
        .await
        .map_err(|error| failure::retry("TRAINING_UNVERIFIED", error.to_string()))?
}

fn check(output: &Path, done: &Done) -> Result<Model, HandlerError> {
    let wrong = |reason: String| {
        fail(
            "TRAINING_ARTIFACT",
            format!(
                "the trainer said that `{}` is the model, but {reason}",
                done.artifact
            ),
        )
    };
    let path = inside(output, &done.artifact).map_err(wrong)?;
    let (sha256, bytes) =
        hash(&path).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
    if bytes != done.bytes {
        return Err(wrong(format!("it has {bytes} bytes, not {}", done.bytes)));
    }
    if !sha256.eq_ignore_ascii_case(&done.sha256) {
        return Err(wrong(format!(
            "its SHA-256 is {sha256}, not {}",
            done.sha256
        )));
    }
    let name = path.file_name().map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let is_json = path.extension().is_some_and(|end| end == "json");
    Ok(Model {
        media_type: if is_json {
            "application/json"
        } else {
            "application/octet-stream"
        },
        path,
        name,
        sha256,
        bytes,
    })
}

/// The real path of a file that lies inside `folder`; links that lead out of it do not.
pub(super) fn inside(folder: &Path, relative: &str) -> Result<PathBuf, String> {
    if relative.is_empty() || Path::new(relative).is_absolute() {
        return Err("it is not a relative path".to_owned());
    }
    let real = fs::canonicalize(folder.join(relative))
        .map_err(|error| format!("there is no such file: {error}"))?;
    let folder = fs::canonicalize(folder).map_err(|error| error.to_string())?;
    if !real.starts_with(&folder) {
        return Err("it lies outside the output folder".to_owned());
    }
    if real.is_file() {
        Ok(real)
    } else {
        Err("it is not a file".to_owned())
    }
}

fn hash(path: &Path) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let bytes = io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok((hex::encode(hasher.finalize()), bytes))
}
