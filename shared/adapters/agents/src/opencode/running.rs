//! Servers of OpenCode that somebody else runs, for runs that are to share them.
//!
//! They are not below a guard: the end of a run aborts its session there and no more. What the agent's tools started is that
//! server's to end, and after the death of a worker its session goes on there until the next run aborts it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use application::ports::HandlerError;
use serde::Deserialize;
use serde_json::Value;

use super::call::{CallError, Called};
use super::client::Client;
use super::references::{References, bounded};
use super::run::Run;
use crate::failure::{fail, retry};
use crate::output::Redactor;
use crate::private::PrivateFolder;

/// A few lines for each of some servers.
const FILE_BYTES: u64 = 64 * 1024;
const SERVERS: usize = 100;

/// The operator's list of servers.
pub(super) struct RunningServers {
    path: PathBuf,
    variables: BTreeMap<String, String>,
    /// So that runs take turns.
    turn: AtomicUsize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    url: String,
    /// `{env:NAME}` or `{file:PATH}`.
    #[serde(default)]
    password: String,
}

/// One that a run may use.
pub(super) struct Found {
    pub client: Client,
    pub secrets: Vec<String>,
}

impl RunningServers {
    pub(super) fn new(
        path: PathBuf,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        Self {
            path,
            variables: super::config::texts(variables),
            turn: AtomicUsize::new(0),
        }
    }

    /// The server that knows the run's conversation or, when none does, the next one that answers and sees the run's folder.
    pub(super) async fn find(&self, run: &Run<'_>) -> Result<Found, HandlerError> {
        let (entries, secrets) = self.load().map_err(|reason| {
            let path = self.path.display();
            fail(
                "OPENCODE_CONFIG",
                format!("the worker's list of OpenCode servers, {path}, cannot be used: {reason}"),
            )
        })?;
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut first = None;
        let mut refusals = Vec::new();
        for index in 0..entries.len() {
            let entry = &entries[start.wrapping_add(index) % entries.len()];
            match usable(entry, run).await {
                Ok((client, knows)) => {
                    if knows || run.session().is_none() {
                        return Ok(Found { client, secrets });
                    }
                    first.get_or_insert(client);
                }
                Err(error) => refusals.push(format!("{}: {error}", entry.url)),
            }
        }
        let client = first.ok_or_else(|| {
            let message = format!("no server of OpenCode can be used: {}", refusals.join("; "));
            retry("OPENCODE_UNREACHABLE", message)
        })?;
        Ok(Found { client, secrets })
    }

    /// How many there are, with passwords that can be read.
    pub(super) fn count(&self) -> Result<usize, String> {
        self.load().map(|(entries, _)| entries.len())
    }

    /// Read for every run, so that servers come and go without a restart.
    fn load(&self) -> Result<(Vec<Entry>, Vec<String>), String> {
        let text = bounded(&self.path, FILE_BYTES)?;
        let mut list: Value =
            serde_json::from_str(&text).map_err(|error| format!("it is not JSON: {error}"))?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let mut references = References::new(folder, &self.variables);
        references.resolve(&mut list)?;
        let secrets = references.into_secrets();
        // What is wrong may stand where a secret does.
        let entries =
            entries(list).map_err(|why| Redactor::new(secrets.iter().cloned()).once(&why))?;
        Ok((entries, secrets))
    }
}

fn entries(list: Value) -> Result<Vec<Entry>, String> {
    let entries: Vec<Entry> = serde_json::from_value(list).map_err(|error| {
        format!("it is not a list of {{\"url\": ..., \"password\": ...}}: {error}")
    })?;
    if entries.is_empty() || entries.len() > SERVERS {
        return Err(format!(
            "it names {} servers and not 1 to {SERVERS}",
            entries.len()
        ));
    }
    for entry in &entries {
        check(&entry.url)?;
    }
    Ok(entries)
}

/// A URL is shown in errors, so it holds no password; and its server is not given one in the clear over a network.
fn check(url: &str) -> Result<(), String> {
    let parsed =
        reqwest::Url::parse(url).map_err(|error| format!("the URL {url} is wrong: {error}"))?;
    let is_bare = parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.path() == "/"
        && parsed.query().is_none();
    if !is_bare {
        return Err(
            "a URL has more than scheme, host and port; the password is a member of its own"
                .to_owned(),
        );
    }
    let host = parsed.host_str().unwrap_or_default();
    let is_local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    if parsed.scheme() != "http" || !is_local {
        return Err(format!(
            "the server {url} is not one of this machine, as in http://127.0.0.1:4096"
        ));
    }
    Ok(())
}

/// Says also whether it knows the run's conversation.
async fn usable(entry: &Entry, run: &Run<'_>) -> Called<(Client, bool)> {
    let base = entry.url.trim_end_matches('/').to_owned();
    let client = Client::new(base, &entry.password, &run.task.directory)?;
    client.version().await?;
    let private = PrivateFolder::beside(&run.task.directory);
    let unseen = || CallError::Unreachable("it does not see the files of this worker".to_owned());
    private.create().map_err(|_| unseen())?;
    let beside = client.at(private.root());
    match beside.files().await {
        Ok(names) if !names.is_empty() => {}
        Ok(_) | Err(CallError::Refused { .. }) => return Err(unseen()),
        Err(error) => return Err(error),
    }
    let knows = match run.session() {
        Some(id) => client.session(&id).await?.is_some(),
        None => false,
    };
    Ok((client, knows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<(Vec<Entry>, Vec<String>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("servers.json");
        std::fs::write(&path, text).unwrap();
        let variables = [("WORD".into(), "the-password".into())];
        RunningServers::new(path, variables).load()
    }

    #[test]
    fn servers_are_named_by_url_and_their_passwords_referred_to() {
        let text = r#"[{"url": "http://127.0.0.1:4096", "password": "{env:WORD}"}, {"url": "http://localhost:1"}]"#;
        let (entries, secrets) = load(text).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].password, "the-password");
        assert_eq!(secrets, ["the-password"]);
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said() {
        for (text, words) in [
            ("[]", "0 servers"),
            (r#"[{"uri": "x"}]"#, "unknown field"),
            (r#"[{"url": "x"}]"#, "is wrong"),
            (
                r#"[{"url": "http://me:word@127.0.0.1:1"}]"#,
                "a member of its own",
            ),
            (
                r#"[{"url": "http://example.org"}]"#,
                "not one of this machine",
            ),
            (
                r#"[{"url": "http://127.0.0.1:1", "password": "{env:NONE}"}]"#,
                "NONE",
            ),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("word@"), "{error}");
        }
    }
}
