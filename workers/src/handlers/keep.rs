//! Keeps the files of a worktree that a session asked for. Never follows a link out of the worktree.

use std::path::Path;

use application::ports::{HandlerError, RunContext};
use domain::LogStream;

const MEDIA_TYPE: &str = "application/octet-stream";

/// A file that is not there is said in the log and is no failure: the agent may have had no reason to make it.
pub(super) async fn keep_named(
    worktree: &Path,
    names: &[String],
    context: &impl AsContext,
) -> Result<(), HandlerError> {
    for name in names {
        match inside(worktree, name) {
            Ok(path) => {
                context
                    .context()
                    .keep_file(name, media_type(name), &path)
                    .await?;
            }
            Err(why) => {
                let line = format!("`{name}` was not kept: {why}\n");
                context.context().log(LogStream::System, &line).await;
            }
        }
    }
    Ok(())
}

/// Lets callers pass what they hold.
pub(super) trait AsContext {
    fn context(&self) -> &dyn RunContext;
}

impl<T: RunContext> AsContext for std::sync::Arc<T> {
    fn context(&self) -> &dyn RunContext {
        self.as_ref()
    }
}

/// The real path of a regular file below `worktree`.
fn inside(worktree: &Path, name: &str) -> Result<std::path::PathBuf, String> {
    let root = worktree.canonicalize().map_err(|error| error.to_string())?;
    let path = root
        .join(name)
        .canonicalize()
        .map_err(|_| "there is no such file".to_owned())?;
    if !path.starts_with(&root) {
        return Err("it is a link out of the worktree".to_owned());
    }
    if !path.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    Ok(path)
}

/// Text where the ending says so; everything else is only ever downloaded.
fn media_type(name: &str) -> &'static str {
    match Path::new(name)
        .extension()
        .and_then(|ending| ending.to_str())
    {
        Some("txt" | "md" | "log" | "csv" | "rs" | "py" | "toml" | "yaml" | "yml") => "text/plain",
        Some("json") => "application/json",
        Some("diff" | "patch") => "text/x-diff",
        _ => MEDIA_TYPE,
    }
}
