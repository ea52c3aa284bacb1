//! The real store on a memory file system, emptied for each seed, with an account of every row that changes.
//!
//! One a thread: opening a file and preparing its statements costs more than a whole seed.

use std::fs::File;
use std::future::Future;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use adapter_sqlite::SqliteStore;
use serde_json::Value;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqlSafeStr as _};
use tempfile::TempDir;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::bridge::Bridge;

/// Where files live in memory; elsewhere the system's own place for temporary files does.
const MEMORY: &str = "/dev/shm";
/// Bytes: a counter of commits, the length of the log, checksums.
const INDEX_HEAD: usize = 48;
const AUDIT: &str = include_str!("audit.sql");
/// In the order in which rows may go; the account last, since it notes what goes.
const TABLES: &[&str] = &[
    "DELETE FROM artifacts",
    "DELETE FROM checkpoints",
    "DELETE FROM job_logs",
    "DELETE FROM job_events",
    "DELETE FROM job_attempts",
    "DELETE FROM job_dependencies",
    "DELETE FROM resource_fences",
    "DELETE FROM replays",
    "DELETE FROM schedules",
    "DELETE FROM jobs",
    "DELETE FROM workers",
    "DELETE FROM api_keys",
    "DELETE FROM tenant_slots",
    "DELETE FROM tenant_months",
    "DELETE FROM budgets",
    "DELETE FROM tenants",
    "DELETE FROM audit",
];

/// A row that changed: of which table, which one, and what it says now.
#[derive(Debug, Clone)]
pub struct Change {
    pub what: String,
    pub id: Uuid,
    pub says: Vec<Value>,
}

#[derive(Debug)]
pub struct Database {
    pub bridge: Bridge,
    pub store: Arc<SqliteStore>,
    witness: Arc<Mutex<Witness>>,
    seen: AtomicI64,
    _folder: TempDir,
}

impl Database {
    pub fn open() -> Result<Self, String> {
        let bridge = Bridge::new().map_err(|error| error.to_string())?;
        let folder = if Path::new(MEMORY).is_dir() {
            tempfile::tempdir_in(MEMORY)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.map_err(|error| error.to_string())?;
        let path = folder.path().join("store.db");
        let opened = bridge.call(async move {
            let store = SqliteStore::open(&path)
                .await
                .map_err(|error| error.to_string())?;
            store.migrate().await.map_err(|error| error.to_string())?;
            let witness = Witness::open(&path).await;
            Ok::<_, String>((store, witness.map_err(|error| error.to_string())?))
        });
        let (store, witness) = opened.ok_or("the store cannot be opened")??;
        Ok(Self {
            bridge,
            store: Arc::new(store),
            witness: Arc::new(Mutex::new(witness)),
            seen: AtomicI64::new(0),
            _folder: folder,
        })
    }

    /// As after the first start: the same seed finds the same store.
    pub fn empty(&self) -> Result<(), String> {
        let witness = Arc::clone(&self.witness);
        self.seen.store(0, Ordering::Relaxed);
        let emptied = self.bridge.call(async move {
            let mut witness = witness.lock().await;
            let mut all = witness.connection.begin().await?;
            for table in TABLES {
                sqlx::query(*table).execute(&mut *all).await?;
            }
            all.commit().await
        });
        let emptied = emptied.ok_or("the store cannot be emptied")?;
        emptied.map_err(|error| error.to_string())
    }

    /// The answer of a call, and what it changed. `None`: it panicked.
    pub fn call<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Option<(T, Result<Vec<Change>, String>)> {
        let witness = Arc::clone(&self.witness);
        let seen = self.seen.load(Ordering::Relaxed);
        let (answer, rows) = self.bridge.call(async move {
            let answer = call.await;
            let rows = witness.lock().await.changes_since(seen).await;
            (answer, rows)
        })?;
        let changes = rows.map_err(|error| error.to_string()).and_then(|rows| {
            if let Some(last) = rows.last() {
                self.seen.store(last.get("n"), Ordering::Relaxed);
            }
            rows.iter().map(change).collect()
        });
        Some((answer, changes))
    }
}

fn change(row: &SqliteRow) -> Result<Change, String> {
    let says: &str = row.get("says");
    Ok(Change {
        what: row.get("what"),
        id: row.get("id"),
        says: serde_json::from_str(says).map_err(|error| error.to_string())?,
    })
}

/// Beside the store's own connections: what it reads is what is committed.
#[derive(Debug)]
struct Witness {
    connection: SqliteConnection,
    /// The head of SQLite's own index of its log changes with every commit: most calls change nothing, and to see that
    /// is cheaper than to ask. Without it every call is asked about.
    index: Option<File>,
    head: [u8; INDEX_HEAD],
}

impl Witness {
    async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let mut connection = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off)
            .foreign_keys(false)
            .disable_statement_logging()
            .connect()
            .await?;
        sqlx::raw_sql(AUDIT.into_sql_str())
            .execute(&mut connection)
            .await?;
        Ok(Self {
            connection,
            index: File::open(path.with_extension("db-shm")).ok(),
            head: [0; INDEX_HEAD],
        })
    }

    async fn changes_since(&mut self, seen: i64) -> Result<Vec<SqliteRow>, sqlx::Error> {
        if let Some(index) = &self.index {
            let mut head = [0; INDEX_HEAD];
            index.read_exact_at(&mut head, 0)?;
            if head == self.head {
                return Ok(Vec::new());
            }
            self.head = head;
        }
        sqlx::query("SELECT n, what, id, says FROM audit WHERE n > ? ORDER BY n")
            .bind(seen)
            .fetch_all(&mut self.connection)
            .await
    }
}
