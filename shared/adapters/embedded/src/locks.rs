use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use application::ports::{CoordinationError, LockState, Locks};
use async_trait::async_trait;
use tokio::time::Instant;

use crate::mutex::lock;

/// Below this number of resources nobody looks for abandoned lines.
const SWEEP_AT_LEAST: usize = 64;

/// The locks of one process: a line for each resource, and the first in line holds it.
#[derive(Debug, Default)]
pub struct EmbeddedLocks {
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    by_resource: HashMap<String, Vec<Place>>,
    /// Abandoned lines are looked for when there are so many; doubles with what is found alive.
    sweep_at: usize,
}

#[derive(Debug)]
struct Place {
    owner: String,
    until: Instant,
}

impl Lines {
    /// The resource's line, without those whose time is over. `None`: nobody is in it.
    fn alive(&mut self, resource: &str) -> Option<&mut Vec<Place>> {
        let now = Instant::now();
        let line = self.by_resource.get_mut(resource)?;
        line.retain(|place| place.until > now);
        if line.is_empty() {
            self.by_resource.remove(resource);
        }
        self.by_resource.get_mut(resource)
    }

    /// How many are ahead in the line then, and who is the first of it.
    fn join(&mut self, resource: &str, owner: &str, until: Instant) -> (usize, String) {
        self.sweep();
        if self.alive(resource).is_none() {
            self.by_resource.insert(resource.to_owned(), Vec::new());
        }
        let line = self.by_resource.entry(resource.to_owned()).or_default();
        let ahead = line.iter().position(|place| place.owner == owner);
        let ahead = ahead.unwrap_or_else(|| {
            line.push(Place {
                owner: owner.to_owned(),
                until,
            });
            line.len() - 1
        });
        line[ahead].until = until;
        (ahead, line[0].owner.clone())
    }

    fn sweep(&mut self) {
        if self.by_resource.len() < self.sweep_at.max(SWEEP_AT_LEAST) {
            return;
        }
        let now = Instant::now();
        self.by_resource
            .retain(|_, line| line.iter().any(|place| place.until > now));
        self.sweep_at = self.by_resource.len() * 2;
    }
}

#[async_trait]
impl Locks for EmbeddedLocks {
    async fn acquire(
        &self,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<LockState, CoordinationError> {
        let (ahead, holder) = lock(&self.lines).join(resource, owner, Instant::now() + ttl);
        Ok(match u32::try_from(ahead).unwrap_or(u32::MAX) {
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
        let mut lines = lock(&self.lines);
        let Some(line) = lines.alive(resource) else {
            return Ok(false);
        };
        match line.first_mut().filter(|place| place.owner == owner) {
            Some(holder) => {
                holder.until = Instant::now() + ttl;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    async fn release(&self, resource: &str, owner: &str) -> Result<bool, CoordinationError> {
        let mut lines = lock(&self.lines);
        let Some(line) = lines.alive(resource) else {
            return Ok(false);
        };
        let before = line.len();
        line.retain(|place| place.owner != owner);
        let after = line.len();
        if after == 0 {
            lines.by_resource.remove(resource);
        }
        Ok(after < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn abandoned_lines_do_not_pile_up() {
        let locks = EmbeddedLocks::default();
        for resource in 0..10_000 {
            let resource = format!("repository-{resource}");
            let state = locks.acquire(&resource, "me", Duration::from_secs(1)).await;
            assert_eq!(state.unwrap(), LockState::Held);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(lock(&locks.lines).by_resource.len() <= SWEEP_AT_LEAST);
    }
}
