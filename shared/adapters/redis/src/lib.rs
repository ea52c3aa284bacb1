//! Coordination of many processes over Redis: the ready set, locks and the event bus.
//!
//! Everything in Redis is a hint or a convenience that can be lost at any time: an emptied Redis makes the ready set
//! blank until it is rebuilt from the store, and a subscriber that was cut off is told so. Nothing here may ever be
//! the only place where something is known.

mod bus;
mod keys;
mod link;
mod locks;
mod ready;
mod subscriber;

use std::time::Duration;

use application::ports::CoordinationError;

use crate::keys::Keys;
use crate::link::Link;
use crate::locks::LockScripts;
use crate::ready::ReadyScripts;
use crate::subscriber::Subscriber;

/// How long Redis may take to be connected to, and to answer a command. A slow hint is worth less than asking the
/// store.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port][/database]`
    pub url: String,
    /// What all keys and channels begin with, so that installations can share a server. No braces: the keys of a
    /// script must share one hash tag, and this is it.
    pub prefix: String,
}

/// One process's use of Redis: a connection for commands and one for what it listens to, both replaced when they
/// break. Implements [`ReadySet`](application::ports::ReadySet), [`Locks`](application::ports::Locks) and
/// [`EventBus`](application::ports::EventBus).
pub struct Redis {
    link: Link,
    subscriber: Subscriber,
    keys: Keys,
    ready_scripts: ReadyScripts,
    lock_scripts: LockScripts,
}

impl Redis {
    /// Does not wait for Redis to be there: [`check`](application::ports::ReadySet::check) tells. Fails on a URL or
    /// prefix that cannot be used. Needs a Tokio runtime.
    pub fn open(config: &RedisConfig) -> Result<Self, CoordinationError> {
        if config.prefix.is_empty() || config.prefix.contains(['{', '}']) {
            return Err(CoordinationError(format!(
                "`{}` cannot be the prefix of keys in Redis: it must not be empty or contain braces",
                config.prefix
            )));
        }
        let client = redis::Client::open(config.url.as_str()).map_err(|error| {
            CoordinationError(format!(
                "the Redis URL cannot be used ({error}); expected redis://[user:password@]host[:port][/database]"
            ))
        })?;
        let keys = Keys::new(&config.prefix);
        Ok(Self {
            subscriber: Subscriber::start(client.clone(), keys.wake_channel()),
            link: Link::new(client),
            keys,
            ready_scripts: ReadyScripts::default(),
            lock_scripts: LockScripts::default(),
        })
    }
}
