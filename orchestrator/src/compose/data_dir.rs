//! The folder of the embedded mode: what lies where, and that one process has it at a time.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use application::agent_tokens::{AgentTokens, new_secret};

const DATABASE: &str = "orchestrator.db";
const ADMIN_KEY: &str = "admin.key";
/// What the tokens of agents are made of that this folder's `dev` gives tasks to.
const AGENT_SECRET: &str = "agent.secret";
const URL: &str = "url";
const LOCK: &str = "lock";
const WORK: &str = "work";

#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

/// The folder belongs to the process that holds this; the kernel gives it free when the process is gone.
#[derive(Debug)]
pub struct Claimed {
    dir: DataDir,
    _lock: File,
}

/// The key that `dev` made for the people on this machine.
pub fn admin_key(folder: &Path) -> PathBuf {
    folder.join(ADMIN_KEY)
}

/// Where a `dev` keeps all that it knows.
pub fn database(folder: &Path) -> PathBuf {
    folder.join(DATABASE)
}

/// Where a `dev` keeps what it makes tokens of.
pub fn agent_secret(folder: &Path) -> PathBuf {
    folder.join(AGENT_SECRET)
}

/// Where the `dev` of this folder listens. It may be dead by now; then nobody answers there.
pub fn running_url(folder: &Path) -> Option<String> {
    let url = fs::read_to_string(folder.join(URL)).ok()?;
    let url = url.trim();
    (!url.is_empty()).then(|| url.to_owned())
}

impl DataDir {
    /// Makes the folder where it is missing, for this user alone.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("the data folder {} cannot be used", folder.display());
        if !folder.is_dir() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .with_context(cannot)?;
            // It may lie in somebody's checkout; it is nothing to commit.
            fs::write(folder.join(".gitignore"), "*\n").with_context(cannot)?;
        }
        let folder = folder.canonicalize().with_context(cannot)?;
        Ok(Self(folder))
    }

    /// Takes the folder for this process.
    pub fn claim(self) -> anyhow::Result<Claimed> {
        let path = self.0.join(LOCK);
        let cannot = || format!("{} cannot be locked", path.display());
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                bail!(
                    "the data folder {} is in use by another process ({}). End that one first, or give this one a folder of its own with --data-dir",
                    self.0.display(),
                    match holder.trim() {
                        "" => "of unknown id".to_owned(),
                        id => format!("id {id}"),
                    }
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        lock.set_len(0).with_context(cannot)?;
        write!(lock, "{}", std::process::id()).with_context(cannot)?;
        Ok(Claimed {
            dir: self,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn database(&self) -> PathBuf {
        database(&self.0)
    }

    /// Where runs work.
    pub fn work(&self) -> PathBuf {
        self.0.join(WORK)
    }

    pub fn admin_key(&self) -> PathBuf {
        admin_key(&self.0)
    }

    pub fn has_admin_key(&self) -> bool {
        self.admin_key().is_file()
    }

    /// Keeps the admin's key where only this user can read it; whole or not at all.
    pub fn write_admin_key(&self, key: &str) -> anyhow::Result<()> {
        self.write(ADMIN_KEY, key, 0o600)
    }

    /// Of a secret that the first call makes; it is kept where only this user can read it.
    pub fn agent_tokens(&self) -> anyhow::Result<AgentTokens> {
        let path = agent_secret(&self.0);
        let cannot = || format!("{} cannot be used", path.display());
        match fs::read_to_string(&path) {
            Ok(text) => return AgentTokens::new(text.trim()).with_context(cannot),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(cannot),
        }
        let secret = new_secret().with_context(cannot)?;
        self.write(AGENT_SECRET, &secret, 0o600)?;
        AgentTokens::new(&secret).with_context(cannot)
    }

    /// Says where this process can be reached.
    pub fn write_url(&self, url: &str) -> anyhow::Result<()> {
        self.write(URL, url, 0o644)
    }

    /// Nobody can be reached any more.
    pub fn remove_url(&self) {
        if let Err(error) = fs::remove_file(self.0.join(URL))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the file with this server's address was not removed");
        }
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
        let path = self.0.join(name);
        let draft = self.0.join(format!(".{name}.{}", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(mode)
                .open(&draft)?;
            // A draft that a crash left behind keeps its own mode.
            file.set_permissions(Permissions::from_mode(mode))?;
            writeln!(file, "{text}")?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }
}

impl std::ops::Deref for Claimed {
    type Target = DataDir;

    fn deref(&self) -> &DataDir {
        &self.dir
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_process_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("new/data");
        let first = DataDir::open(&folder).unwrap().claim().unwrap();
        let refused = DataDir::open(&folder).unwrap().claim().unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains(&format!("id {}", std::process::id())),
            "{text}"
        );
        assert!(text.contains("--data-dir"), "{text}");
        drop(first);
        DataDir::open(&folder).unwrap().claim().unwrap();
    }

    #[test]
    fn the_admin_key_is_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        assert!(!dir.has_admin_key());
        dir.write_admin_key("orc_1_2").unwrap();
        assert!(dir.has_admin_key());
        let mode = fs::metadata(dir.admin_key()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_to_string(dir.admin_key()).unwrap(), "orc_1_2\n");
    }

    const AGENT: &str = "0198c5a2-7e1b-7cc0-8000-0123456789ab";

    #[test]
    fn the_secret_of_agents_is_made_once_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        let agent = AGENT.parse().unwrap();
        let token = || dir.agent_tokens().unwrap().token(agent, 1);
        assert_eq!(token(), token());
        let file = folder.path().join(AGENT_SECRET);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&file, "short").unwrap();
        let error = format!("{:#}", dir.agent_tokens().unwrap_err());
        assert!(error.contains("agent.secret"), "{error}");
    }

    #[test]
    fn the_address_is_there_while_the_server_is() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        assert_eq!(running_url(folder.path()), None);
        dir.write_url("http://127.0.0.1:1234").unwrap();
        assert_eq!(running_url(folder.path()).unwrap(), "http://127.0.0.1:1234");
        dir.remove_url();
        dir.remove_url();
        assert_eq!(running_url(folder.path()), None);
    }
}
