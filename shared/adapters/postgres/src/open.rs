//! The connections: how many there are and how long anything may take on them.

use std::time::Duration;

use application::ports::StoreError;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::{Config, NoTls};

/// How to reach the server.
#[derive(Clone)]
pub struct Settings {
    /// `postgres://user:password@host:port/database`, with the usual parameters.
    pub url: String,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    /// Connections of this process. All processes together must stay below the server's `max_connections`.
    pub pool_size: usize,
    /// How long a caller waits for a free connection, and for a new one to be made.
    pub pool_wait: Duration,
    /// No statement runs longer.
    pub statement_timeout: Duration,
    /// No statement waits longer for a lock.
    pub lock_timeout: Duration,
    /// Another schema than the user's default; each test has its own.
    pub search_path: Option<String>,
}

impl Settings {
    const POOL_SIZE: usize = 16;
    const POOL_WAIT: Duration = Duration::from_secs(5);
    const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);
    const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            application_name: "orchestrator".to_owned(),
            pool_size: Self::POOL_SIZE,
            pool_wait: Self::POOL_WAIT,
            statement_timeout: Self::STATEMENT_TIMEOUT,
            lock_timeout: Self::LOCK_TIMEOUT,
            search_path: None,
        }
    }

    /// Server settings of every connection, as the start-up packet carries them.
    fn options(&self) -> String {
        let mut options = format!(
            "-c statement_timeout={} -c lock_timeout={}",
            self.statement_timeout.as_millis(),
            self.lock_timeout.as_millis()
        );
        // A process that is frozen inside a transaction must not hold the locks of everybody's slots.
        options.push_str(" -c idle_in_transaction_session_timeout=");
        options.push_str(&self.statement_timeout.as_millis().to_string());
        options.push_str(PLANS);
        if let Some(path) = &self.search_path {
            options.push_str(" -c search_path=");
            options.push_str(path);
        }
        options
    }
}

/// Every statement here looks up few rows by an index. Without statistics, as in a fresh database, the planner takes
/// every table for small and reads it whole, and a prepared statement keeps that plan while the table grows to millions
/// of rows. The reconciler, which does read much, takes this back for itself.
const PLANS: &str = " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off -c plan_cache_mode=force_generic_plan";

/// A silent peer is given up after about this long.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The pool; its first connection is made when it is first needed.
pub(crate) fn pool(settings: &Settings) -> Result<Pool, StoreError> {
    let unusable = |error: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!("the PostgreSQL URL cannot be used: {error}"))
    };
    let mut config: Config = settings.url.parse().map_err(|error| unusable(&error))?;
    let options = match config.get_options() {
        Some(given) => format!("{} {given}", settings.options()),
        None => settings.options(),
    };
    config.options(options);
    config.application_name(&settings.application_name);
    config.connect_timeout(settings.pool_wait);
    config.keepalives_idle(KEEPALIVE);
    config.keepalives_interval(KEEPALIVE / 3);
    config.keepalives_retries(3);
    config.tcp_user_timeout(KEEPALIVE);
    let manager = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    Pool::builder(Manager::from_config(config, NoTls, manager))
        .max_size(settings.pool_size)
        .wait_timeout(Some(settings.pool_wait))
        .create_timeout(Some(settings.pool_wait))
        .recycle_timeout(Some(settings.pool_wait))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| unusable(&error))
}
