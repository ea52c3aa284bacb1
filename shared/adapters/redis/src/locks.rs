use std::time::Duration;

use application::ports::{CoordinationError, LockState, Locks};
use async_trait::async_trait;
use redis::{Script, ScriptInvocation};

use crate::Redis;
use crate::link::{Call, OnBreak};

pub(crate) struct LockScripts {
    acquire: Script,
    renew: Script,
    release: Script,
}

impl Default for LockScripts {
    fn default() -> Self {
        macro_rules! with_line {
            ($file:literal) => {
                Script::new(concat!(include_str!("lua/lock.lua"), include_str!($file)))
            };
        }
        Self {
            acquire: with_line!("lua/acquire.lua"),
            renew: with_line!("lua/renew.lua"),
            release: with_line!("lua/release.lua"),
        }
    }
}

impl Redis {
    fn on_line<'a>(&self, script: &'a Script, resource: &str, owner: &str) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        for key in self.keys.lock(resource) {
            call.key(key);
        }
        call.arg(owner);
        call
    }
}

/// Redis counts whole milliseconds; a time of none would never have begun.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl Locks for Redis {
    async fn acquire(
        &self,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<LockState, CoordinationError> {
        let mut call = self.on_line(&self.lock_scripts.acquire, resource, owner);
        call.arg(millis(ttl));
        let (ahead, holder): (u32, String) =
            self.link.call(Call::Script(&call), OnBreak::Repeat).await?;
        Ok(match ahead {
            0 => LockState::Held,
            ahead => LockState::Waiting { ahead, holder },
        })
    }

    async fn renew(
        &self,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<bool, CoordinationError> {
        let mut call = self.on_line(&self.lock_scripts.renew, resource, owner);
        call.arg(millis(ttl));
        self.link.call(Call::Script(&call), OnBreak::Repeat).await
    }

    async fn release(&self, resource: &str, owner: &str) -> Result<bool, CoordinationError> {
        // Repeated after a break it may answer false though the first one did it: the place is gone in either case.
        let call = self.on_line(&self.lock_scripts.release, resource, owner);
        self.link.call(Call::Script(&call), OnBreak::Repeat).await
    }
}
