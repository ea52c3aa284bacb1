//! What an agent is given: the task as docs/eap.md has it, with the files that the session hands over.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use application::ports::{AgentTask, HandlerError};
use domain::{Eap, TaskKey};
use serde_json::{Value, json};

use super::{artifacts, client};
use crate::failure::unfit;

const FILE_BYTES: u64 = 256 * 1024;
const FILES_BYTES: usize = 1024 * 1024;

/// What the agent knows the task by: the session, and the round in which it mends its work.
pub(super) fn task_id(task: &AgentTask) -> String {
    let (job, round) = (task.job, task.round);
    TaskKey { job, round }.to_string()
}

/// The body of `POST /task`.
pub(crate) fn body(task: &AgentTask, spec: &Eap) -> Result<Vec<u8>, HandlerError> {
    task_body(task, spec, client::ANSWER_BYTES).map(String::into_bytes)
}

/// The task, as an agent is told of it. `answer_bytes`: what its result may have.
pub(crate) fn task_body(
    task: &AgentTask,
    spec: &Eap,
    answer_bytes: usize,
) -> Result<String, HandlerError> {
    let mut body = json!({
        "task_id": task_id(task),
        "session_id": task.job.to_string(),
        "task_type": spec.task_type(),
        "context": {
            "title": task.title,
            "prompt": task.prompt,
            "attempt": task.attempt,
            "repository": task.directory.join(".git").exists(),
            "files": files(&task.directory, &spec.files)?,
        },
        "input_data": spec.input_data,
        "requirements": {
            "max_artifacts": artifacts::ARTIFACTS_MAX,
            "max_artifact_bytes": artifacts::ARTIFACT_BYTES,
            "max_answer_bytes": answer_bytes,
        },
        "timeout_seconds": task.max_duration_seconds,
    });
    if let Some(feedback) = &task.feedback {
        body["context"]["feedback"] = json!(feedback);
    }
    if let Some(schema) = &task.output_schema {
        body["context"]["output_schema"] = schema.clone();
    }
    Ok(body.to_string())
}

fn files(directory: &Path, names: &[String]) -> Result<Vec<Value>, HandlerError> {
    let mut room = FILES_BYTES;
    let mut files = Vec::new();
    for name in names {
        let text = text_of(directory, name).map_err(|why| bad(name, &why))?;
        room = room.checked_sub(text.len()).ok_or_else(|| {
            bad(
                name,
                &format!("and those before it have more than {FILES_BYTES} bytes together"),
            )
        })?;
        files.push(json!({"path": name, "content": text}));
    }
    Ok(files)
}

fn bad(name: &str, why: &str) -> HandlerError {
    unfit(
        "EAP_FILES",
        format!("the file `{name}`, which the session hands to its agent, {why}"),
    )
}

/// The error is the end of a sentence that begins with the file.
fn text_of(directory: &Path, name: &str) -> Result<String, String> {
    let gone = |_| "is not in the worktree".to_owned();
    let root = fs::canonicalize(directory).map_err(gone)?;
    let path = fs::canonicalize(root.join(name)).map_err(gone)?;
    if !path.starts_with(&root) {
        return Err("is a link out of the worktree".to_owned());
    }
    if !path.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(|error| format!("cannot be read: {error}"))?;
    let read = file.take(FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(format!("has more than {FILE_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is no text in UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_worktree_is_handed_over_and_nothing_else() {
        let outer = tempfile::tempdir().unwrap();
        let tree = outer.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(outer.path().join("secret"), "secret").unwrap();
        fs::write(tree.join("good"), "text").unwrap();
        fs::write(tree.join("binary"), [0xff, 0xfe]).unwrap();
        fs::write(tree.join("long"), vec![b'x'; 256 * 1024 + 1]).unwrap();
        std::os::unix::fs::symlink("../secret", tree.join("link")).unwrap();
        let given = files(&tree, &["good".to_owned()]).unwrap();
        assert_eq!(given, [json!({"path": "good", "content": "text"})]);
        for name in ["gone", "binary", "long", "link"] {
            let error = files(&tree, &[name.to_owned()]).unwrap_err();
            assert!(matches!(error, HandlerError::Unfit(_)), "{error:?}");
            let error = error.to_string();
            assert!(
                error.contains("EAP_FILES") && error.contains(name),
                "{error}"
            );
        }
        fs::write(tree.join("half"), vec![b'x'; 256 * 1024]).unwrap();
        assert!(files(&tree, &vec!["half".to_owned(); 4]).is_ok());
        assert!(files(&tree, &vec!["half".to_owned(); 5]).is_err());
    }
}
