//! Hands a run's changes back to the user's repository, as one commit on a branch of its own.
//!
//! The commit is made as the diff is: from the files alone, without the run's own `.git` and without anybody's hooks. Of
//! the user's repository only this one branch is ever written. A branch that is there already is replaced only when its
//! tip is a commit that this made for the same job, and only while it still is.

use std::path::Path;

use application::ports::{HandlerError, PushOrder};
use domain::{JobId, Pushed};
use tokio::process::Command;

use super::git::{Said, failed, line};
use super::tree::Checkout;
use crate::failure::{fail, retry};

/// Who the commits say made them; what tells them from a person's.
const COMMITTER: (&str, &str) = ("Orchestrator", "orchestrator@localhost");
/// The line that names the job, the last one of the message.
const TRAILER: &str = "Orchestrator-Session: ";
/// A commit that is larger is none of ours.
const COMMIT_BYTES: u64 = 1024 * 1024;
/// Receives into the user's repository as itself, without what its configuration would run.
const RECEIVE: &str = "git -c safe.directory=* -c core.hooksPath=/dev/null -c core.fsmonitor=false \
                       -c core.alternateRefsCommand=true -c receive.autogc=false -c gc.auto=0 receive-pack";

/// Who commits are by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    pub name: String,
    pub email: String,
}

impl Default for Author {
    fn default() -> Self {
        Self {
            name: COMMITTER.0.to_owned(),
            email: COMMITTER.1.to_owned(),
        }
    }
}

/// The text is no author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an author; write it as `Name <address>`")]
pub struct NotAnAuthor(pub String);

impl std::str::FromStr for Author {
    type Err = NotAnAuthor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text
            .trim()
            .strip_suffix('>')
            .and_then(|it| it.split_once('<'));
        let is_clean = |part: &str| {
            !part.is_empty() && !part.contains(['<', '>']) && !part.contains(char::is_control)
        };
        parts
            .map(|(name, email)| (name.trim(), email.trim()))
            .filter(|(name, email)| is_clean(name) && is_clean(email))
            .map(|(name, email)| Self {
                name: name.to_owned(),
                email: email.to_owned(),
            })
            .ok_or_else(|| NotAnAuthor(text.to_owned()))
    }
}

/// What a commit says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Commit {
    tree: String,
    parents: Vec<String>,
    committer: String,
    last_line: String,
}

impl Commit {
    fn parse(text: &str) -> Self {
        let (head, message) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut commit = Self {
            last_line: message
                .trim_end()
                .lines()
                .next_back()
                .unwrap_or_default()
                .to_owned(),
            ..Self::default()
        };
        for line in head.lines() {
            match line.split_once(' ') {
                Some(("tree", tree)) => tree.clone_into(&mut commit.tree),
                Some(("parent", parent)) => commit.parents.push(parent.to_owned()),
                Some(("committer", committer)) => committer.clone_into(&mut commit.committer),
                _ => {}
            }
        }
        commit
    }

    fn is_of(&self, job: JobId) -> bool {
        let (name, email) = COMMITTER;
        self.committer.starts_with(&format!("{name} <{email}> "))
            && self.last_line == format!("{TRAILER}{job}")
    }
}

impl Checkout {
    /// `None`: nothing changed.
    pub(super) async fn push(
        &self,
        order: &PushOrder,
        author: &Author,
    ) -> Result<Option<Pushed>, HandlerError> {
        self.stage().await?;
        let mut command = self.outside();
        command.arg("write-tree");
        let tree = self.name(command, "write the tree").await?;
        let mut command = self.outside();
        command
            .args(["rev-parse", "--verify"])
            .arg(format!("{}^{{tree}}", self.base));
        if tree == self.name(command, "read the revision").await? {
            return Ok(None);
        }
        let reference = format!("refs/heads/{}", order.branch);
        let tip = self.tip(&reference).await?;
        if let Some(tip) = &tip {
            let commit = self.commit_of(tip).await?;
            if !commit.is_of(order.job) {
                return Err(taken(&self.repository, &order.branch));
            }
            // An earlier run pushed the same and could not say so.
            if commit.tree == tree && commit.parents == [self.base.clone()] {
                return Ok(Some(pushed(order, tip)));
            }
        }
        let commit = self.commit(order, author, &tree).await?;
        self.send(&reference, &commit, tip.as_deref()).await?;
        Ok(Some(pushed(order, &commit)))
    }

    async fn commit(
        &self,
        order: &PushOrder,
        author: &Author,
        tree: &str,
    ) -> Result<String, HandlerError> {
        let mut command = self.outside();
        command
            .env("GIT_AUTHOR_NAME", &author.name)
            .env("GIT_AUTHOR_EMAIL", &author.email)
            .env("GIT_COMMITTER_NAME", COMMITTER.0)
            .env("GIT_COMMITTER_EMAIL", COMMITTER.1)
            .args([
                "-c",
                "commit.gpgSign=false",
                "-c",
                "i18n.commitEncoding=UTF-8",
            ])
            .args(["commit-tree", tree, "-p", &self.base])
            .args(["-m", order.message.trim()])
            .arg("-m")
            .arg(format!("{TRAILER}{}", order.job));
        self.name(command, "commit the changes").await
    }

    /// The commit that the branch is at now.
    async fn tip(&self, reference: &str) -> Result<Option<String>, HandlerError> {
        let mut command = self.reader();
        command
            .args(["rev-parse", "--verify", "--quiet", "--end-of-options"])
            .arg(format!("{reference}^{{commit}}"));
        let said = self.git.ask(command, "read the branch", 4096).await?;
        Ok(said.success.then(|| line(&said.stdout)))
    }

    async fn commit_of(&self, tip: &str) -> Result<Commit, HandlerError> {
        let mut command = self.reader();
        command.args(["cat-file", "commit", tip]);
        let said = self
            .git
            .ask(command, "read the branch", COMMIT_BYTES)
            .await?;
        if said.success {
            return Ok(Commit::parse(&String::from_utf8_lossy(&said.stdout)));
        }
        Err(failed("read the branch", &said.stderr, &self.repository))
    }

    /// Refused by git itself when the branch is no longer where it was.
    async fn send(
        &self,
        reference: &str,
        commit: &str,
        tip: Option<&str>,
    ) -> Result<(), HandlerError> {
        let mut command = self.outside();
        command
            .args(["push", "--quiet", "--no-verify", "--no-signed"])
            .args(["--no-follow-tags", "--recurse-submodules=no"])
            .arg(format!("--receive-pack={RECEIVE}"))
            .arg(format!(
                "--force-with-lease={reference}:{}",
                tip.unwrap_or_default()
            ))
            .arg("--end-of-options")
            .arg(&self.repository)
            .arg(format!("{commit}:{reference}"));
        let said = self.git.ask(command, "push", 4096).await?;
        if said.success {
            return Ok(());
        }
        Err(refused(&said, reference, &self.repository))
    }

    /// Git in the user's repository.
    fn reader(&self) -> Command {
        let mut command = self.git.command();
        command.current_dir(&self.repository);
        if let Some(above) = self.repository.parent() {
            command.env("GIT_CEILING_DIRECTORIES", above);
        }
        command
    }

    /// Runs a command that prints one name.
    async fn name(&self, command: Command, what: &str) -> Result<String, HandlerError> {
        let said = self.git.ask(command, what, 4096).await?;
        if said.success {
            return Ok(line(&said.stdout));
        }
        Err(failed(what, &said.stderr, &self.diff))
    }
}

fn pushed(order: &PushOrder, commit: &str) -> Pushed {
    Pushed {
        branch: order.branch.clone(),
        commit: commit.to_owned(),
    }
}

fn taken(repository: &Path, branch: &str) -> HandlerError {
    fail(
        "PUSH_BRANCH_TAKEN",
        format!(
            "the branch {branch} of {} has commits that are not of this session, and is left alone; name another branch, \
             or remove it",
            repository.display()
        ),
    )
}

fn refused(said: &Said, reference: &str, repository: &Path) -> HandlerError {
    let stderr = &said.stderr;
    if stderr.contains("stale info") || stderr.contains("cannot lock ref") {
        return retry(
            "PUSH_FAILED",
            format!("{reference} of {} changed meanwhile", repository.display()),
        );
    }
    let is_decided = [
        "remote rejected",
        "Permission denied",
        "insufficient permission",
        "unpacker error",
    ]
    .iter()
    .any(|words| stderr.contains(words));
    let error = failed(
        &format!("push to {}", repository.display()),
        stderr,
        repository,
    );
    match error {
        HandlerError::Retry(error) if is_decided => fail("PUSH_REFUSED", error.message),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_author_has_a_name_and_an_address() {
        let author: Author = " Build Bot <bot@example.org> ".parse().unwrap();
        assert_eq!(
            (&*author.name, &*author.email),
            ("Build Bot", "bot@example.org")
        );
        for text in ["", "Bot", "<bot@example.org>", "Bot <>", "Bot <a> <b>"] {
            assert!(text.parse::<Author>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_we_committed_for_a_job_is_the_jobs() {
        let job = JobId::from_uuid(Uuid::from_u128(1));
        let other = JobId::from_uuid(Uuid::from_u128(2));
        let text = |committer: &str, end: &str| {
            format!(
                "tree t\nparent p\nauthor A <a@b> 1 +0000\ncommitter {committer} 1 +0000\n\nfix\n\n{end}\n"
            )
        };
        let ours = Commit::parse(&text(
            "Orchestrator <orchestrator@localhost>",
            &format!("{TRAILER}{job}"),
        ));
        assert!(ours.is_of(job) && !ours.is_of(other));
        assert_eq!(
            (&*ours.tree, &ours.parents[..]),
            ("t", &["p".to_owned()][..])
        );
        let amended = Commit::parse(&text("A <a@b>", &format!("{TRAILER}{job}")));
        assert!(!amended.is_of(job));
        let feigned = format!("{TRAILER}{job}\n\n{TRAILER}{other}");
        assert!(
            !Commit::parse(&text("Orchestrator <orchestrator@localhost>", &feigned)).is_of(job)
        );
    }
}
